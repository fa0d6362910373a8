#pragma once
#include "device/context.hpp"
#include "device/view.hpp"
#include "kernels/cost.hpp"

namespace espalier::kernels {

/// out = silu(gate) * up, silu(x) = x / (1 + exp(-x)) (Shazeer 2020). Cost: 6F bytes per token
/// (bf16).
struct SwigluForward {
  device::ConstView gate_up;  ///< (T, 2 F_loc): gate columns, then up columns
  device::View out;           ///< (T, F_loc)
};
void swiglu_forward(device::Context& context, const SwigluForward& a);

/// d_gate_up from d_out. Also writes `out` again, which the weight gradient of down_proj needs: the
/// forward's result is not kept.
struct SwigluBackward {
  device::ConstView gate_up;  ///< (T, 2 F_loc)
  device::ConstView d_out;    ///< (T, F_loc)
  device::View d_gate_up;     ///< (T, 2 F_loc); may alias gate_up
  device::View out;           ///< (T, F_loc) recomputed; may alias d_out
};
void swiglu_backward(device::Context& context, const SwigluBackward& a);

inline Cost cost_of(const SwigluForward& a) {
  return {.flops = 5.0 * num_elements_of(a.out), .bytes = 3.0 * bytes_of(a.out)};
}

inline Cost cost_of(const SwigluBackward& a) {
  return {.flops = 12.0 * num_elements_of(a.d_out), .bytes = 6.0 * bytes_of(a.d_out)};
}

}  // namespace espalier::kernels
