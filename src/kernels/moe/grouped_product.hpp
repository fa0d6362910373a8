#pragma once
#include <cstdint>
#include <span>

#include "device/context.hpp"
#include "device/gemm.hpp"
#include "device/view.hpp"
#include "kernels/cost.hpp"

namespace espalier::kernels {

// The three products of a linear layer (device/gemm.hpp) for G groups of consecutive rows, each
// with a weight of its own: rows offsets[g] to offsets[g+1] are multiplied with w_g, rows g*N to
// (g+1)*N of w. `offsets` (G+1) is in host memory, ascending from 0 to R; groups may be empty.
// Operands are f32 or bf16, all alike; sums in fp32. A row's result does not depend on the groups
// of other rows, nor on the number of threads.

/// y (R, N) = x (R, K) w_g^T
struct GroupedForward {
  device::ConstView x;  ///< (R, K)
  device::ConstView w;  ///< (G*N, K)
  std::span<const std::int64_t> offsets;
  device::View y;  ///< (R, N)
};
void grouped_forward(device::Context& context, const GroupedForward& a);

/// dx (R, K) = dy (R, N) w_g
struct GroupedBackwardInput {
  device::ConstView dy;  ///< (R, N)
  device::ConstView w;   ///< (G*N, K)
  std::span<const std::int64_t> offsets;
  device::View dx;  ///< (R, K)
};
void grouped_backward_input(device::Context& context, const GroupedBackwardInput& a);

/// dw_g (N, K) (+)= dy_g^T x_g: of a group without rows nothing, or zeros where the result replaces
/// what was there.
struct GroupedBackwardWeight {
  device::ConstView dy;  ///< (R, N)
  device::ConstView x;   ///< (R, K)
  std::span<const std::int64_t> offsets;
  device::View dw;  ///< (G*N, K) f32
  device::Output output = device::Output::accumulate;
};
void grouped_backward_weight(device::Context& context, const GroupedBackwardWeight& a);

/// Every weight is read, whichever groups have rows: with few exceptions all have.
inline Cost cost_of(const GroupedForward& a) {
  return {.flops = 2.0 * num_elements_of(a.y) * num_cols_of(a.x),
          .bytes = bytes_of(a.x) + bytes_of(a.w) + bytes_of(a.y)};
}

inline Cost cost_of(const GroupedBackwardInput& a) {
  return {.flops = 2.0 * num_elements_of(a.dx) * num_cols_of(a.dy),
          .bytes = bytes_of(a.dy) + bytes_of(a.w) + bytes_of(a.dx)};
}

inline Cost cost_of(const GroupedBackwardWeight& a) {
  return {.flops = 2.0 * num_elements_of(a.x) * num_cols_of(a.dy),
          .bytes = bytes_of(a.dy) + bytes_of(a.x) +
                   (a.output == device::Output::accumulate ? 2.0 : 1.0) * bytes_of(a.dw)};
}

}  // namespace espalier::kernels
