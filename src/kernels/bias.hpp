#pragma once
#include "device/context.hpp"
#include "device/view.hpp"
#include "kernels/cost.hpp"

namespace espalier::kernels {

/// Gradient of a linear layer's bias (its addition is fused in Gemm::forward):
///   d_bias += sum over rows of dy
/// The sum is taken over fixed slices in a fixed order: the same bits for any thread count.
/// Cost: 2N bytes per row (bf16).
struct BiasBackward {
  device::ConstView dy;  ///< (T, N) gradient of the layer's output
  device::View d_bias;   ///< (1, N) f32, accumulated
};
void bias_backward(device::Context& context, const BiasBackward& a);

inline Cost cost_of(const BiasBackward& a) {
  return {.flops = num_elements_of(a.dy), .bytes = bytes_of(a.dy) + 8.0 * num_cols_of(a.dy)};
}

}  // namespace espalier::kernels
