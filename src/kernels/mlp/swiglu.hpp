#pragma once
#include "device/context.hpp"
#include "device/view.hpp"

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

}  // namespace espalier::kernels
