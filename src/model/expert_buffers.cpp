#include "model/expert_buffers.hpp"

#include <algorithm>
#include <cmath>

namespace espalier::model {

ExpertSizes ExpertSizes::of(const LocalSizes& s, std::int64_t local_tokens,
                            double capacity_factor) {
  if (s.num_experts == 0) return {};
  ExpertSizes sizes{.ranks = s.num_experts / s.num_local_experts,
                    .pairs = local_tokens * s.experts_per_token};
  sizes.most_rows = sizes.ranks * local_tokens * std::min(s.experts_per_token, s.num_local_experts);
  const double wanted = std::ceil(capacity_factor * static_cast<double>(sizes.pairs));
  sizes.capacity = wanted < static_cast<double>(sizes.most_rows)
                       ? std::max<std::int64_t>(1, static_cast<std::int64_t>(wanted))
                       : sizes.most_rows;
  return sizes;
}

ExpertScratch allocate_expert_scratch(const LocalSizes& s, const ExpertScratchShape& shape,
                                      DType dtype, device::Arena& arena) {
  const ExpertSizes n = ExpertSizes::of(s, shape.local_tokens, shape.options.capacity_factor);
  const bool exchanges = n.ranks > 1, rounds = n.may_take_rounds();
  const auto allocate = [&](bool needed, const char* name, DType type, std::int64_t rows,
                            std::int64_t cols) {
    return needed ? arena.allocate(fmt::format("experts' {}", name), type, rows, cols)
                  : device::View{};
  };
  const bool trains = shape.training;
  const auto f32 = DType::f32, i32 = DType::i32;
  const std::int64_t E = s.num_experts, Fe = s.expert_intermediate, C = n.capacity;
  const bool by_sequence = shape.options.balance == BalanceScope::sequence;
  ExpertScratch a;
  a.counts = allocate(true, "counts", i32, 1, E);
  a.d_logits =
      allocate(trains || shape.options.rounds_logits, "d_logits", dtype, shape.local_tokens, E);
  a.pairs = allocate(true, "pairs", dtype, n.pairs, s.hidden);
  a.hidden = allocate(true, "hidden", dtype, C, Fe);
  a.received = allocate(exchanges, "received rows", dtype, C, s.hidden);
  a.results = allocate(exchanges, "results", dtype, C, s.hidden);
  a.received_of_window = allocate(exchanges, "places received", i32, 1, C);
  a.window_of_received = allocate(exchanges, "places in the window", i32, 1, C);
  a.further_rows = allocate(rounds, "rows of further rounds", dtype, C, s.hidden);
  a.further_gate_up = allocate(rounds, "gate_up of further rounds", dtype, C, 2 * Fe);
  a.returned = allocate(rounds && exchanges, "returned rows", dtype, n.pairs, s.hidden);
  a.pair_weights = allocate(trains && !exchanges, "weights of pairs", f32, n.pairs, 1);
  a.d_pair_weights = allocate(trains, "d of weights of pairs", f32, n.pairs, 1);
  a.d_weights = allocate(trains, "d of weights", f32, shape.local_tokens, s.experts_per_token);
  a.received_weights = allocate(trains && exchanges, "received weights", f32, C, 1);
  a.row_weights = allocate(trains && exchanges, "weights of rows", f32, C, 1);
  a.d_row_weights = allocate(trains && exchanges, "d of weights of rows", f32, C, 1);
  a.returned_weights = allocate(trains && exchanges && rounds, "returned weights", f32, n.pairs, 1);
  a.balance_counts = allocate(trains && shape.options.balance != BalanceScope::none,
                              "balance counts", f32, by_sequence ? shape.num_sequences : 1, E);
  a.balance_sums = allocate(trains, "balance sums", DType::f64, s.num_sparse_layers(), 2);
  return a;
}

}  // namespace espalier::model
