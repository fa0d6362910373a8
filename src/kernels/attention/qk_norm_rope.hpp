#pragma once
#include "device/context.hpp"
#include "device/view.hpp"

namespace espalier::kernels {

/// How the frequencies f_i = theta^(-2i/D) are changed for sequences longer than those that a model
/// was trained on. Names and values: rope_type in transformers' `modeling_rope_utils.py`.
enum class RopeType : std::uint8_t {
  standard,  ///< "default": not at all
  linear,    ///< f / factor (kaiokendev 2023)
  dynamic,   ///< NTK-aware by the sequence's length S (bloc97, emozilla 2023): above
             ///< original_positions P the base is theta (factor S / P - factor + 1)^(D / (D - 2))
  yarn,      ///< Peng et al. 2023: f / factor for long wavelengths, f for short ones, between them
             ///< a ramp in i; cosines and sines are multiplied by attention_factor
  llama3,    ///< Llama 3.1: with the wavelength w = 2 pi / f, f / factor above
             ///< original_positions / low_freq_factor, f below original_positions /
             ///< high_freq_factor, between them ((1 - s) / factor + s) f, s linear in f
};

struct RopeScaling {
  RopeType type = RopeType::standard;
  double factor = 1.0;
  std::int64_t original_positions = 8192;  ///< dynamic, yarn, llama3: length before the stretching
  double low_freq_factor = 1.0;            ///< llama3
  double high_freq_factor = 4.0;           ///< llama3
  double beta_fast = 32.0;                 ///< yarn: more turns than this in the original length: f
  double beta_slow = 1.0;                  ///< yarn: fewer turns than this: f / factor
  double attention_factor = 1.0;           ///< yarn
  bool truncate = true;                    ///< yarn: the ramp begins and ends at whole i
};

struct RopeFrequencies {
  double theta;
  RopeScaling scaling = {};
};

/// Cosines and sines of RoPE, a row per position: angle = position * frequency, computed in fp32
/// as transformers does (inv_freq in fp32, angle in fp32).
struct RopeTable {
  device::View cos;  ///< (num_positions, D/2) f32
  device::View sin;  ///< (num_positions, D/2) f32
};
/// Rows first_position, first_position + 1, ... of a sequence that ends with the last of them;
/// only RopeType::dynamic asks where it ends.
void fill_rope_table(device::Context& context, const RopeTable& table, std::int64_t head_dim,
                     const RopeFrequencies& frequencies, std::int64_t first_position = 0);

/// QK-norm (optional) and RoPE in one pass over the packed projections.
/// Per head row h of q and k:  n = rmsnorm(h, eps) * w  (w of shape (D), shared by all heads;
/// rounding as in RmsNormForward);  then pairs (i, i + D/2), "half-split":
///   out_i = n_i cos - n_{i+D/2} sin;   out_{i+D/2} = n_{i+D/2} cos + n_i sin
/// v is not touched. Cost: 4(A+K)D bytes per token (bf16).
struct QkNormRopeForward {
  device::ConstView qkv;           ///< (T, (A_loc + 2 K_loc) D): q heads, k heads, v heads
  device::ConstView q_weight;      ///< (1, D), or absent: no QK-norm
  device::ConstView k_weight;      ///< (1, D), or absent
  device::ConstView position_ids;  ///< (1, T) i32, rows of the table
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
  device::ConstView q_weight;  ///< (1, D), or absent: no QK-norm
  device::ConstView k_weight;
  device::ConstView position_ids;  ///< (1, T) i32
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
