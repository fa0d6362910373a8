#pragma once
#include "device/context.hpp"
#include "device/view.hpp"

namespace espalier::kernels {

/// out = gelu(x) in the tanh form (transformers `gelu_new`; Hendrycks & Gimpel 2016):
///   gelu(x) = x/2 (1 + tanh u) = x sigmoid(2 u),   u = sqrt(2/pi) (x + 0.044715 x^3)
/// The sigmoid keeps its digits where 1 + tanh u would cancel. Cost: 4F bytes per token (bf16).
struct GeluForward {
  device::ConstView x;  ///< (T, F_loc)
  device::View out;     ///< (T, F_loc); may alias x
};
void gelu_forward(device::Context& context, const GeluForward& a);

/// d_x from d_out:  d_x = d_out s (1 + 2 x (1 - s) du/dx),  s = sigmoid(2 u). Also writes `out`
/// again, which the weight gradient of the next product needs: the forward's result is not kept.
struct GeluBackward {
  device::ConstView x;      ///< (T, F_loc)
  device::ConstView d_out;  ///< (T, F_loc)
  device::View d_x;         ///< (T, F_loc); may alias x
  device::View out;         ///< (T, F_loc) recomputed; may alias d_out
};
void gelu_backward(device::Context& context, const GeluBackward& a);

}  // namespace espalier::kernels
