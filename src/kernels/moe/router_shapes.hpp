#pragma once
// What the backends of the router's operators ask of their arguments, and share.
#include "base/error.hpp"
#include "kernels/moe/dispatch.hpp"
#include "kernels/moe/router.hpp"

namespace espalier::kernels {

/// The most experts of a token: what a thread keeps of a token has this size.
constexpr std::int64_t kMaxExpertsPerToken = 64;

/// The row of the counts (B, E) that is token t's.
inline std::int64_t counts_row(const device::ConstView& counts, const TokenPlace& place,
                               std::int64_t t) {
  return counts.rows == 1 ? 0 : (place.first_token + t) / place.tokens_per_sequence;
}

inline void check_choices(const device::ConstView& experts, const device::ConstView& weights,
                          std::int64_t num_tokens, std::int64_t num_experts) {
  ESPALIER_ASSERT(experts.rows == num_tokens && experts.cols <= num_experts &&
                      experts.cols <= kMaxExpertsPerToken && weights.rows == experts.rows &&
                      weights.cols == experts.cols,
                  "{} tokens, {} experts, chosen {}, weights {}", num_tokens, num_experts,
                  describe(experts), describe(weights));
}

inline void check_counts(const device::ConstView& counts, const TokenPlace& place,
                         std::int64_t num_tokens, std::int64_t num_experts) {
  ESPALIER_ASSERT(!counts.exists() || (counts.cols == num_experts && place.first_token >= 0 &&
                                       place.tokens_per_sequence > 0),
                  "counts {} of {} experts, first token {}, {} in a sequence", describe(counts),
                  num_experts, place.first_token, place.tokens_per_sequence);
  ESPALIER_ASSERT(!counts.exists() || num_tokens == 0 ||
                      counts_row(counts, place, num_tokens - 1) < counts.rows,
                  "counts {}: {} tokens from {}, {} in a sequence", describe(counts), num_tokens,
                  place.first_token, place.tokens_per_sequence);
}

inline void check_shapes(const RouterForward& a) {
  ESPALIER_ASSERT(a.probabilities.rows == a.logits.rows && a.probabilities.cols == a.logits.cols &&
                      a.log_sum_exp.cols == a.logits.rows &&
                      (!a.bias.exists() || a.bias.cols == a.logits.cols),
                  "logits {}, bias {}, probabilities {}, log_sum_exp {}", describe(a.logits),
                  describe(a.bias), describe(a.probabilities), describe(a.log_sum_exp));
  check_choices(a.experts, a.weights, a.logits.rows, a.logits.cols);
}

inline void check_shapes(const RouterBackward& a) {
  ESPALIER_ASSERT(
      a.d_logits.rows == a.probabilities.rows && a.d_logits.cols == a.probabilities.cols &&
          a.log_sum_exp.cols == a.probabilities.rows && a.d_weights.rows == a.weights.rows &&
          a.d_weights.cols == a.weights.cols,
      "probabilities {}, log_sum_exp {}, d_weights {}, d_logits {}", describe(a.probabilities),
      describe(a.log_sum_exp), describe(a.d_weights), describe(a.d_logits));
  check_choices(a.experts, a.weights, a.probabilities.rows, a.probabilities.cols);
  check_counts(a.counts, a.place, a.probabilities.rows, a.probabilities.cols);
}

inline void check_shapes(const BalanceLoss& a) {
  ESPALIER_ASSERT(a.log_sum_exp.cols == a.probabilities.rows && a.sums.size() == 2,
                  "probabilities {}, log_sum_exp {}, sums {}", describe(a.probabilities),
                  describe(a.log_sum_exp), describe(a.sums));
  check_counts(a.counts, a.place, a.probabilities.rows, a.probabilities.cols);
}

inline void check_shapes(const SortByExpert& a) {
  ESPALIER_ASSERT(a.order.cols == a.experts.size() && a.place.rows == a.experts.rows &&
                      a.place.cols == a.experts.cols && a.counts.rows == 1,
                  "experts {}, order {}, place {}, counts {}", describe(a.experts),
                  describe(a.order), describe(a.place), describe(a.counts));
}

inline void check_shapes(const CountChoices& a) {
  check_counts(a.counts, a.place, a.experts.rows, a.counts.cols);
}

inline void check_shapes(const GatherRows& a) {
  ESPALIER_ASSERT(a.out.rows == a.index.cols && a.out.cols == a.in.cols &&
                      a.out.dtype == a.in.dtype && a.divisor > 0 && size_of(a.in.dtype) <= 4,
                  "in {}, index {} / {}, out {}", describe(a.in), describe(a.index), a.divisor,
                  describe(a.out));
}

inline void check_shapes(const CombineRows& a) {
  ESPALIER_ASSERT(
      a.rows.rows == a.place.size() && a.rows.cols == a.out.cols && a.rows.dtype == a.out.dtype &&
          a.place.rows == a.out.rows && a.place.cols <= kMaxExpertsPerToken &&
          (!a.weights.exists() ||
           (a.weights.rows == a.place.rows && a.weights.cols == a.place.cols)) &&
          (!a.add.exists() ||
           (a.add.rows == a.out.rows && a.add.cols == a.out.cols && a.add.dtype == a.out.dtype)),
      "rows {}, place {}, weights {}, add {}, out {}", describe(a.rows), describe(a.place),
      describe(a.weights), describe(a.add), describe(a.out));
}

}  // namespace espalier::kernels
