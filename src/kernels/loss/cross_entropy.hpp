#pragma once
#include <cstdint>

#include "device/context.hpp"
#include "device/view.hpp"

namespace espalier::kernels {

/// Per token, over this rank's columns of the logits: (maximum, sum of exp(logit - maximum), the
/// target's logit or 0 when another rank holds it). The caller gathers the triples of the tensor
/// group. Columns >= num_valid_cols are padding of a vocabulary that tensor does not divide: never
/// read.
struct CrossEntropyStatistics {
  device::ConstView logits;   ///< (Tc, V_loc)
  device::ConstView targets;  ///< (1, Tc) u32 global ids; kIgnoredTarget: the token does not count
  std::int64_t first_col;     ///< global id of column 0
  std::int64_t num_valid_cols;
  device::View statistics;  ///< (Tc, 3) f32
};
void cross_entropy_statistics(device::Context& context, const CrossEntropyStatistics& a);

/// Combines the triples of `num_parts` ranks in rank order.
/// loss[t] = log(sum) + max - target_logit (0 for an ignored target).
struct CrossEntropyCombine {
  device::ConstView statistics;  ///< (num_parts * Tc, 3) f32: part p's token t at row p*Tc + t
  device::ConstView targets;     ///< (1, Tc) u32
  std::int64_t num_parts;
  device::View loss;         ///< (1, Tc) f32
  device::View log_sum_exp;  ///< (1, Tc) f32
};
void cross_entropy_combine(device::Context& context, const CrossEntropyCombine& a);

/// sum (1, 1) f64 += the losses (1, Tc) f32, in an order that does not depend on the thread count.
void add_losses(device::Context& context, device::View sum, device::ConstView losses);

/// In place: logits become d_logits = scale * (softmax - onehot(target)); zero for ignored targets
/// and for padding columns. Cost of all three: 4V to 6V bytes per token (bf16).
struct CrossEntropyBackward {
  device::View logits;            ///< (Tc, V_loc) in: logits, out: d_logits
  device::ConstView targets;      ///< (1, Tc) u32
  device::ConstView log_sum_exp;  ///< (1, Tc) f32
  std::int64_t first_col;
  std::int64_t num_valid_cols;
  float scale;
};
void cross_entropy_backward(device::Context& context, const CrossEntropyBackward& a);

constexpr std::uint32_t kIgnoredTarget = 0xFFFFFFFFu;

}  // namespace espalier::kernels
