#pragma once
#include "device/context.hpp"
#include "model/weights.hpp"

namespace espalier::model {

// The parts of a block that differ between families, each as one function that picks the operator.
// Training, evaluation and decoding all go through them.

/// Statistics that a norm keeps per token for its backward pass: RMSNorm inverse_rms; LayerNorm
/// mean and inverse_std.
constexpr std::int64_t norm_statistics_rows(Normalization normalization) {
  return normalization == Normalization::rms_norm ? 1 : 2;
}

/// residual = x + delta; y = norm(residual). Aliasing as in RmsNormForward.
struct NormForward {
  device::ConstView x;      ///< (T_loc, H)
  device::ConstView delta;  ///< (T_loc, H), or absent: residual is x and not written
  const NormTensors& weights;
  device::View residual;    ///< (T_loc, H)
  device::View y;           ///< (T_loc, H)
  device::View statistics;  ///< (norm_statistics_rows, T_loc) f32
};
void norm_forward(device::Context& context, const Architecture& architecture, const NormForward& a);

/// dx = d_residual + gradient through the norm; the weights' gradients are accumulated.
struct NormBackward {
  device::ConstView dy;  ///< (T_loc, H)
  device::ConstView x;   ///< (T_loc, H) the norm's input
  const NormTensors& weights;
  device::ConstView statistics;
  device::ConstView d_residual;  ///< (T_loc, H), or absent: zero
  device::View dx;               ///< (T_loc, H); may alias d_residual or dy
  const NormTensors& gradients;
};
void norm_backward(device::Context& context, const Architecture& architecture,
                   const NormBackward& a);

/// The MLP's activation: gate_up (T, 2 F_loc), or (T, F_loc) without a gate, to hidden (T, F_loc).
void activation_forward(device::Context& context, Mlp mlp, device::ConstView gate_up,
                        device::View hidden);
/// The gradient of gate_up replaces it. `hidden` holds the gradient of the activation's output on
/// entry and that output again on return, for the weight gradient of down_proj.
void activation_backward(device::Context& context, Mlp mlp, device::View gate_up,
                         device::View hidden);

/// Throws Error (bad_configuration, met by every rank) when sequences of `length` tokens have more
/// positions than a learned table has rows. RoPE has no such limit.
void require_positions(const Architecture& architecture, std::int64_t length);

/// y = x W^T + bias, with no pass over memory of its own for the bias. `holds_bias`: false on the
/// tensor ranks that must leave it out, all but the first when y is a partial sum over the ranks.
void linear_forward(device::Context& context, device::View y, device::ConstView x,
                    const LinearTensors& weights, bool holds_bias = true);

}  // namespace espalier::model
