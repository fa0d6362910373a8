#pragma once
#include <span>
#include <vector>

#include "config/parameters.hpp"
#include "device/context.hpp"
#include "device/view.hpp"

namespace espalier::optim {

/// A bias of the choice of experts that keeps their load even without a loss (Wang et al. 2024,
/// arXiv:2408.15664). Once per step, from the choices n_e of all ranks, by experts.bias_update:
///
///   deepseek     b_e += u sign(mean(n) - n_e)
///   torchtitan   d_e = u sign(mean(n) - n_e); b_e += d_e - mean(d)
///
/// The counts are whole numbers, so that every grid has the same bits.
class ExpertBias {
 public:
  /// `bias` (blocks with experts, E) f32 is what the operators read, zero at first, planned or
  /// backed; it must outlive this.
  ExpertBias(device::View bias, const config::ExpertParameters& parameters);

  /// `choices`: as many, of the step that is over. Blocks without choices stay.
  void update(device::Context& context, std::span<const double> choices);
  /// As the operators have it, on every rank the same.
  std::span<const float> values() const { return values_; }
  /// Of a checkpoint: as many.
  void set(device::Context& context, std::span<const float> values);
  std::int64_t num_blocks() const { return bias_.rows; }
  std::int64_t num_experts() const { return bias_.cols; }

 private:
  device::View bias_;
  double rate_;
  bool keeps_mean_;
  std::vector<float> values_;
};

}  // namespace espalier::optim
