#pragma once
#include <span>
#include <vector>

#include "device/arena.hpp"
#include "device/context.hpp"
#include "parallel/parameter_store.hpp"

namespace espalier::optim {

/// The global norm of the gradient, of which each rank has the part that it writes to checkpoints.
class GradientNorm {
 public:
  /// Allocates a number per owned shard in `arena`. `store` must outlive it.
  GradientNorm(parallel::ParameterStore& store, device::Arena& arena);

  /// For each tensor the sum of squares of the gradient rows that this rank writes, fp64; 0 where
  /// it writes none. Waits for the sums of gradients. Summed over all ranks, slot by slot, and
  /// given to squared_norm they are the square of the global gradient norm, whose bits depend
  /// neither on the ZeRO stage nor on which of the ranks has a tensor. Valid until the next call.
  std::span<const double> square_sums(device::Context& context);

 private:
  parallel::ParameterStore& store_;
  device::View shard_sums_;                   ///< (shards, 1) f64
  std::vector<device::ConstView> gradients_;  ///< of square_sums; kept for its memory
  std::vector<double> tensor_sums_;
};

/// The square of the gradient norm: what square_sums and a sum over all ranks left, added in the
/// order of the tensors.
double squared_norm(std::span<const double> square_sums);

/// min(1, max_norm / norm); 1 when max_norm == 0 (no clipping), else NaN when the norm is NaN.
double clip_scale(double norm, double max_norm);

}  // namespace espalier::optim
