#pragma once
#include "device/context.hpp"
#include "device/view.hpp"
#include "kernels/cost.hpp"

namespace espalier::kernels {

/// Gradient of an expert's activation, whose forward is swiglu_forward: row r goes to one token
/// with the weight w_r, y = w_r W_down h, h = silu(gate) * up. d_hidden is without that weight, so
/// that the weight's own gradient comes from the same rows:
///   d_row_weights[r] = <d_hidden, h>        = <dy, W_down h>
///   d_gate_up[r]     = w_r d_hidden dh/d(gate, up)
///   hidden[r]        = w_r h                for dW_down = dy^T hidden
struct ExpertSwigluBackward {
  device::ConstView gate_up;      ///< (R, 2 Fe): gate columns, then up columns
  device::ConstView d_hidden;     ///< (R, Fe) = dy W_down, dy not yet times the weight
  device::ConstView row_weights;  ///< (R, 1) f32
  device::View d_gate_up;         ///< (R, 2 Fe); may alias gate_up
  device::View hidden;            ///< (R, Fe); may alias d_hidden
  device::View d_row_weights;     ///< (R, 1) f32
};
void expert_swiglu_backward(device::Context& context, const ExpertSwigluBackward& a);

inline Cost cost_of(const ExpertSwigluBackward& a) {
  return {.flops = 17.0 * num_elements_of(a.d_hidden),
          .bytes = 6.0 * bytes_of(a.d_hidden) + 8.0 * num_rows_of(a.d_hidden)};
}

}  // namespace espalier::kernels
