#pragma once
#include "device/context.hpp"
#include "device/view.hpp"

namespace espalier::kernels {

/// RMSNorm with an optional residual addition in front:
///   r = x + delta;  y = r * inverse_rms(r) * weight;  inverse_rms = 1 / sqrt(mean(r^2) + eps)
/// The mean and the product are in fp32; the normalised value is rounded to the dtype before the
/// multiplication with the weight, as Hugging Face Qwen3RMSNorm does.
/// Source: Zhang & Sennrich 2019; transformers modeling_qwen3.py. Cost: 8H + 4 bytes per row
/// (bf16).
struct RmsNormForward {
  device::ConstView x;       ///< (T_loc, H)
  device::ConstView delta;   ///< (T_loc, H), or absent: no residual addition
  device::ConstView weight;  ///< (1, H) dtype of x
  device::View residual;     ///< (T_loc, H) r, written only when delta is given; may alias x
  device::View y;            ///< (T_loc, H); may alias delta
  device::View inverse_rms;  ///< (1, T_loc) f32
  float eps;
};
void rmsnorm_forward(device::Context& context, const RmsNormForward& a);

/// Gradient of y = x * inverse_rms * weight, added to the gradient that the residual path brings:
///   dx = d_residual + d(norm)/dx^T dy;   d_weight += sum over rows of dy * x * inverse_rms
/// The row sum is taken over fixed slices in a fixed order: the same bits for any thread count.
struct RmsNormBackward {
  device::ConstView dy;           ///< (T_loc, H)
  device::ConstView x;            ///< (T_loc, H) the input of the norm (r above)
  device::ConstView weight;       ///< (1, H)
  device::ConstView inverse_rms;  ///< (1, T_loc) f32
  device::ConstView d_residual;   ///< (T_loc, H), or absent: zero
  device::View dx;                ///< (T_loc, H); may alias d_residual or dy
  device::View d_weight;          ///< (1, H) f32, accumulated
};
void rmsnorm_backward(device::Context& context, const RmsNormBackward& a);

}  // namespace espalier::kernels
