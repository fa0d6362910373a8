#pragma once
#include <cstdint>

#include "device/context.hpp"
#include "device/view.hpp"
#include "kernels/cost.hpp"

namespace espalier::kernels {

/// The experts of each token and their weights (Shazeer et al. 2017; as Qwen3MoeTopKRouter of
/// Hugging Face, but in fp32 throughout):
///   p = softmax(logits) over all E experts
///   experts = the k with the largest p, or p + bias; of equals the lowest index; in descending
///             order of that score
///   weights = their p, divided by the sum of the k when `normalize`
/// A probability that is NaN is chosen last.
struct RouterForward {
  device::ConstView logits;    ///< (T, E) f32
  device::ConstView bias;      ///< (1, E) f32, added for the choice only; may be absent
  bool normalize;              ///< norm_topk_prob
  device::View probabilities;  ///< (T, E) f32; may alias logits
  device::View log_sum_exp;    ///< (1, T) f32, of the logits
  device::View experts;        ///< (T, k) i32; k <= E
  device::View weights;        ///< (T, k) f32
};
void router_forward(device::Context& context, const RouterForward& a);

/// Tokens of each sequence and this rank's place among them: token t of the rank is the
/// micro-batch's token first_token + t, of the sequence (first_token + t) / tokens_per_sequence.
struct TokenPlace {
  std::int64_t first_token = 0;
  std::int64_t tokens_per_sequence = 1;
};

/// Gradient of the logits, p = softmax(logits), s[experts[j]] = d_weights[j] and 0 elsewhere:
///   normalize:  d_logits[experts[j]] = w_j (d_weights[j] - <w, d_weights>), 0 elsewhere
///   otherwise:  d_logits = p (s - <p, s>)
/// and of the losses of balance and size (those of BalanceLoss), n the counts of the token's
/// sequence, as constants:
///   + balance_scale p (n - <p, n>) + z_scale log_sum_exp p
struct RouterBackward {
  device::ConstView probabilities;  ///< (T, E) f32
  device::ConstView log_sum_exp;    ///< (1, T) f32
  device::ConstView experts;        ///< (T, k) i32
  device::ConstView weights;        ///< (T, k) f32
  bool normalize;
  device::ConstView d_weights;  ///< (T, k) f32
  device::ConstView counts;     ///< (B, E) f32 of each sequence, or (1, E) of all; may be absent
  TokenPlace place;             ///< which row of several counts is a token's
  float balance_scale = 0.0f;   ///< without counts: not read
  float z_scale = 0.0f;
  device::View d_logits;  ///< (T, E) f32 or bf16; f32 may alias probabilities
};
void router_backward(device::Context& context, const RouterBackward& a);

/// The losses whose gradients RouterBackward has:
///   sums += (balance_scale sum_t <n, p_t>, z_scale sum_t log_sum_exp_t^2 / 2)
/// with the counts n of t's sequence (the sequence-wise loss of DeepSeek-V3, arXiv 2412.19437; of
/// all tokens Switch Transformer, 2101.03961; ST-MoE, 2202.08906). Added up in double precision
/// over fixed slices of tokens.
struct BalanceLoss {
  device::ConstView probabilities;  ///< (T, E) f32
  device::ConstView log_sum_exp;    ///< (1, T) f32
  device::ConstView counts;         ///< (B, E) f32, or (1, E); may be absent
  TokenPlace place;
  float balance_scale = 0.0f;
  float z_scale = 0.0f;
  device::View sums;  ///< (1, 2) f64, accumulated
};
void balance_loss(device::Context& context, const BalanceLoss& a);

inline Cost cost_of(const RouterForward& a) {
  return {.flops = 5.0 * num_elements_of(a.logits),
          .bytes = bytes_of(a.logits) + bytes_of(a.probabilities) + bytes_of(a.log_sum_exp) +
                   bytes_of(a.experts) + bytes_of(a.weights)};
}

inline Cost cost_of(const RouterBackward& a) {
  return {.flops = 6.0 * num_elements_of(a.d_logits),
          .bytes = bytes_of(a.probabilities) + bytes_of(a.log_sum_exp) + bytes_of(a.experts) +
                   bytes_of(a.weights) + bytes_of(a.d_weights) + bytes_of(a.d_logits)};
}

inline Cost cost_of(const BalanceLoss& a) {
  const bool balance = a.counts.exists();
  return {.flops = balance ? 2.0 * num_elements_of(a.probabilities) : 0.0,
          .bytes = (balance ? bytes_of(a.probabilities) : 0.0) + bytes_of(a.log_sum_exp)};
}

}  // namespace espalier::kernels
