#pragma once
#include "device/context.hpp"
#include "device/view.hpp"

namespace espalier::kernels {

/// Frequencies of RoPE: theta^(-2i/D), and when factor > 0 Llama 3.1's scaling of them (in
/// transformers `_compute_llama3_parameters`). With the wavelength 2 pi / f of a frequency f:
///   f / factor                where the wavelength is above original_positions / low_freq_factor
///   f                         where it is below original_positions / high_freq_factor
///   ((1 - s) / factor + s) f  between, s running linearly in f from 0 to 1
struct RopeFrequencies {
  double theta;
  double factor = 0.0;  ///< 0: no scaling
  double low_freq_factor = 1.0;
  double high_freq_factor = 4.0;
  std::int64_t original_positions = 8192;
};

/// Cosines and sines of RoPE for positions 0 .. rows-1: angle = position * frequency, computed in
/// fp32 as transformers does (inv_freq in fp32, angle in fp32).
struct RopeTable {
  device::View cos;  ///< (positions, D/2) f32
  device::View sin;  ///< (positions, D/2) f32
};
void fill_rope_table(device::Context& context, const RopeTable& table, std::int64_t head_dim,
                     const RopeFrequencies& frequencies);

/// QK-norm (optional) and RoPE in one pass over the packed projections.
/// Per head row h of q and k:  n = rmsnorm(h, eps) * w  (w of shape (D), shared by all heads;
/// rounding as in RmsNormForward);  then pairs (i, i + D/2), "half-split":
///   out_i = n_i cos - n_{i+D/2} sin;   out_{i+D/2} = n_{i+D/2} cos + n_i sin
/// v is not touched. Cost: 4(A+K)D bytes per token (bf16).
struct QkNormRopeForward {
  device::ConstView qkv;        ///< (T, (A_loc + 2 K_loc) D): q heads, k heads, v heads
  device::ConstView q_weight;   ///< (1, D), or data == nullptr: no QK-norm
  device::ConstView k_weight;   ///< (1, D), or data == nullptr
  device::ConstView positions;  ///< (1, T) i32, rows of the table
  RopeTable rope;
  device::View qk;            ///< (T, (A_loc + K_loc) D): rotated q heads, k heads
  std::int64_t num_q_heads;   ///< A_loc
  std::int64_t num_kv_heads;  ///< K_loc
  std::int64_t head_dim;      ///< D
  float eps;
};
void qk_norm_rope_forward(device::Context& context, const QkNormRopeForward& a);

/// Gradient: d_qk (rotated) -> the q and k columns of d_qkv, and the weights' gradients. The norm's
/// statistics are recomputed from qkv. The v columns of d_qkv are not touched.
struct QkNormRopeBackward {
  device::ConstView d_qk;      ///< (T, (A_loc + K_loc) D)
  device::ConstView qkv;       ///< (T, (A_loc + 2 K_loc) D) the forward's input
  device::ConstView q_weight;  ///< (1, D), or data == nullptr: no QK-norm
  device::ConstView k_weight;
  device::ConstView positions;  ///< (1, T) i32
  RopeTable rope;
  device::View d_qkv;       ///< (T, (A_loc + 2 K_loc) D); its first columns may alias d_qk
  device::View d_q_weight;  ///< (1, D) f32, accumulated; unused without QK-norm
  device::View d_k_weight;  ///< (1, D) f32, accumulated
  std::int64_t num_q_heads;
  std::int64_t num_kv_heads;
  std::int64_t head_dim;
  float eps;
};
void qk_norm_rope_backward(device::Context& context, const QkNormRopeBackward& a);

}  // namespace espalier::kernels
