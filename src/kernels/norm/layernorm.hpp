#pragma once
#include "device/context.hpp"
#include "device/view.hpp"

namespace espalier::kernels {

/// LayerNorm with an optional residual addition in front:
///   r = x + delta;  y = (r - mean) * inverse_std * weight + bias
///   mean = mean(r);  inverse_std = 1 / sqrt(mean((r - mean)^2) + eps)
/// Everything in fp32, rounded once to the dtype, as torch.nn.LayerNorm does. The variance is taken
/// from the deviations, in a second pass over the row while it is in cache.
/// Source: Ba et al. 2016; transformers modeling_gpt2.py. Cost: 8H + 8 bytes per row (bf16).
struct LayerNormForward {
  device::ConstView x;       ///< (T_loc, H)
  device::ConstView delta;   ///< (T_loc, H), or absent: no residual addition
  device::ConstView weight;  ///< (1, H) dtype of x
  device::ConstView bias;    ///< (1, H) dtype of x
  device::View residual;     ///< (T_loc, H) r, written only when delta is given; may alias x
  device::View y;            ///< (T_loc, H); may alias delta
  device::View statistics;   ///< (2, T_loc) f32: mean, inverse_std
  float eps;
};
void layernorm_forward(device::Context& context, const LayerNormForward& a);

/// Gradient of y, added to the gradient that the residual path brings. With n = (x - mean) *
/// inverse_std and g = dy * weight:
///   dx = d_residual + inverse_std * (g - mean(g) - n * mean(g n))
///   d_weight += sum over rows of dy * n;   d_bias += sum over rows of dy
/// The row sums are taken over fixed slices in a fixed order: the same bits for any thread count.
struct LayerNormBackward {
  device::ConstView dy;          ///< (T_loc, H)
  device::ConstView x;           ///< (T_loc, H) the input of the norm (r above)
  device::ConstView weight;      ///< (1, H)
  device::ConstView statistics;  ///< (2, T_loc) f32
  device::ConstView d_residual;  ///< (T_loc, H), or absent: zero
  device::View dx;               ///< (T_loc, H); may alias d_residual or dy
  device::View d_weight;         ///< (1, H) f32, accumulated
  device::View d_bias;           ///< (1, H) f32, accumulated
};
void layernorm_backward(device::Context& context, const LayerNormBackward& a);

}  // namespace espalier::kernels
