#pragma once
#include <cstdint>

#include "config/parameters.hpp"
#include "plan/step_counts.hpp"

namespace espalier::plan {

/// Seconds of a rank's operators, by what they are.
struct OperatorTimes {
  double products = 0.0, attention = 0.0, memory_bound = 0.0;
  double sum() const { return products + attention + memory_bound; }
};

/// The roofline of single operators on one GPU.
///
/// Product (m, k) (k, n): the larger of
///   - tiles: m x n is cut into tiles that the multiprocessors take in waves; the last wave is as
///     long as the others, so is a tile at the border. The best of a few tile shapes, and of
/// cutting
///     k where there are fewer tiles than multiprocessors, as libraries choose them. A full wave
/// runs
///     at the best product that was measured (product_*_tflops), less what a device gives up at its
///     power limit (sustained_share, of attention, too).
///   - its bytes at copy_gbs
/// and the time in which the last wave writes its tiles, when nothing is left to hide it.
/// Grouped products: FLOPs at the rate of tiles of 128 x 128, of which each expert's last one is
/// half empty, or their bytes.
/// Attention: the rate of long sequences, R S / (S + half), which is how the published tables run
/// within 4 %, and less for narrow heads.
/// Everything else: its bytes at kOperatorShare of copy_gbs.
/// Each call costs overhead_us.
class GpuRates {
 public:
  /// `dtype`: of the products, training.dtype. Throws Error (bad_configuration), naming the key,
  /// where the hardware lacks a figure.
  GpuRates(const config::HardwareParameters& hardware, const std::string& dtype);

  enum class Precision : std::uint8_t { training, fp8 };
  /// `bytes`: of the three operands.
  double product(std::int64_t m, std::int64_t n, std::int64_t k, double bytes,
                 Precision precision = Precision::training) const;
  /// `flops` as counted: causal, the scores once more in the backward pass. `length`: of a
  /// sequence.
  double attention(bool backward, double flops, double length, double head_dim) const;
  /// Products of experts, each with `rows` of its own.
  double grouped(double flops, double bytes, double rows) const;
  double memory_bound(double bytes) const;
  double overhead() const { return overhead_s_; }
  double multiprocessors() const { return multiprocessors_; }

  /// Of all operations. `length`: S. `rows_of_expert`: that a micro-batch sends to each.
  OperatorTimes times(const device::OperationCosts& operations, double length, double head_dim,
                      double rows_of_expert = 0.0) const;

 private:
  double product_flops_ = 0.0, fp8_flops_ = 0.0;
  double forward_flops_ = 0.0, backward_flops_ = 0.0;
  double forward_half_ = 0.0, backward_half_ = 0.0;
  double copy_bytes_ = 0.0, overhead_s_ = 0.0;
  double multiprocessors_ = 1.0;
  bool pairs_ = false;  ///< two multiprocessors share a tile (tcgen05 with cta_group::2)
  std::string name_;
};

}  // namespace espalier::plan
