#include "cases.hpp"

namespace espalier::testing {
namespace {

using Numbers = Ids<std::int32_t>;

Numbers unwritten(std::int64_t count) {
  return Numbers(std::vector<std::int32_t>(static_cast<std::size_t>(count), -1));
}
device::View pairs(Numbers& numbers, std::int64_t tokens, std::int64_t k) {
  return {numbers.view().data, DType::i32, tokens, k, k};
}

/// Different experts of each token; `skew` 0: all choose the same.
Numbers choices(std::int64_t tokens, std::int64_t k, std::int64_t E, std::int64_t skew) {
  std::vector<std::int32_t> chosen;
  for (std::int64_t t = 0; t < tokens; ++t)
    for (std::int64_t j = 0; j < k; ++j)
      chosen.push_back(static_cast<std::int32_t>((t * t * skew + j) % E));
  return Numbers(chosen);
}

Verdict sort_case(std::int64_t tokens, std::int64_t k, std::int64_t E, std::int64_t skew) {
  device::Context context;
  TestQueue queue;
  const std::int64_t count = tokens * k;
  Numbers chosen = choices(tokens, k, E, skew);
  Verdict verdict;
  struct Result {
    Numbers order, place, counts;
  };
  Result want{unwritten(count), unwritten(count), unwritten(E)};
  Result got{unwritten(count), unwritten(count), unwritten(E)};
  const auto call = [&](Result& r) {
    return kernels::SortByExpert{.experts = pairs(chosen, tokens, k),
                                 .order = r.order.view(),
                                 .place = pairs(r.place, tokens, k),
                                 .counts = r.counts.view()};
  };
  kernels::sort_by_expert(context, call(want));
  kernels::ESPALIER_GPU::sort_by_expert(queue, call(got));
  for (std::int64_t i = 0; i < count; ++i) {
    verdict.equal("order", i, got.order[i], want.order[i]);
    verdict.equal("place", i, got.place[i], want.place[i]);
  }
  for (std::int64_t e = 0; e < E; ++e) verdict.equal("counts", e, got.counts[e], want.counts[e]);

  for (const std::int64_t sequences : {1, 4}) {
    Matrix<float> counts_want(sequences, E, 2), counts_got(sequences, E, 2);
    const auto count_call = [&](Matrix<float>& counts) {
      return kernels::CountChoices{
          .experts = pairs(chosen, tokens, k),
          .place = {.first_token = 3, .tokens_per_sequence = (tokens + 3 + 2) / 3},
          .counts = counts.view()};
    };
    counts_got.fill(NAN);
    kernels::count_choices(context, count_call(counts_want));
    kernels::ESPALIER_GPU::count_choices(queue, count_call(counts_got));
    verdict.same_bits("counts of sequences", counts_got, counts_want);
  }
  return verdict;
}

template <class T>
Verdict rows_case(std::int64_t tokens, std::int64_t k, std::int64_t width, std::int64_t padding) {
  device::Context context;
  TestQueue queue;
  const std::int64_t E = k + 3;
  Numbers chosen = choices(tokens, k, E, 1), order = unwritten(tokens * k),
          place = unwritten(tokens * k), counts = unwritten(E);
  kernels::sort_by_expert(context, {.experts = pairs(chosen, tokens, k),
                                    .order = order.view(),
                                    .place = pairs(place, tokens, k),
                                    .counts = counts.view()});
  Matrix<T> x(tokens, width, padding), want(tokens * k, width, padding),
      got(tokens * k, width, padding), rows(tokens * k, width, padding);
  Matrix<float> weights(tokens, k);
  x.randomize("x");
  rows.randomize("rows");
  weights.randomize("weights");
  const auto gather = [&](Matrix<T>& out) {
    return kernels::GatherRows{
        .in = x.view(), .index = order.view(), .divisor = k, .out = out.view()};
  };
  kernels::gather_rows(context, gather(want));
  kernels::ESPALIER_GPU::gather_rows(queue, gather(got));
  Verdict verdict;
  verdict.same_bits("gathered", got, want);
  for (const bool weighted : {true, false})
    for (const bool added : {true, false}) {
      Matrix<T> out_want(tokens, width, padding), out_got(tokens, width, padding);
      const auto combine = [&](device::View out) {
        return kernels::CombineRows{.rows = rows.view(),
                                    .place = pairs(place, tokens, k),
                                    .weights = weighted ? weights.view() : device::View{},
                                    .add = added ? x.view() : device::View{},
                                    .out = out};
      };
      kernels::combine_rows(context, combine(out_want.view()));
      kernels::ESPALIER_GPU::combine_rows(queue, combine(out_got.view()));
      verdict.close("combined", out_got, out_want, tolerance_of<T>(), 1e-1);
      if (!weighted && added) {
        kernels::ESPALIER_GPU::combine_rows(queue, combine(x.view()));
        verdict.same_bits("combined in place", x, out_got);
      }
    }
  return verdict;
}

Verdict numbers_case() {
  TestQueue queue;
  Numbers index({4, 0, 4, 2}), in({10, 11, 12, 13, 14}), out = unwritten(4);
  kernels::ESPALIER_GPU::gather_rows(
      queue, {.in = pairs(in, 5, 1), .index = index.view(), .out = pairs(out, 4, 1)});
  Verdict verdict;
  verdict.expect("gathered", out[0] == 14 && out[1] == 10 && out[2] == 14 && out[3] == 12);
  return verdict;
}

template <class T>
void add(std::vector<Case>& cases) {
  const auto named = [](const char* what) {
    return fmt::format("expert rows {}, {}", kTypeName<T>, what);
  };
  cases.push_back({named("aligned"), [] { return rows_case<T>(7, 5, 264, 8); }});
  cases.push_back({named("a tail"), [] { return rows_case<T>(5, 2, 45, 3); }});
  cases.push_back({named("no row"), [] { return rows_case<T>(0, 2, 16, 0); }});
  cases.push_back({named("one element"), [] { return rows_case<T>(1, 1, 1, 0); }});
}

}  // namespace

void add_large_dispatch_cases(std::vector<Case>& cases) {
  cases.push_back({"expert sort, T 16384, k 8, E 128", [] { return sort_case(16384, 8, 128, 1); }});
  cases.push_back(
      {"expert rows bf16, T 2048, k 8, H 2048", [] { return rows_case<bf16>(2048, 8, 2048, 0); }});
}

void add_expert_dispatch_cases(std::vector<Case>& cases) {
  cases.push_back({"expert sort, several parts", [] { return sort_case(150, 4, 37, 1); }});
  cases.push_back({"expert sort, a part", [] { return sort_case(7, 3, 5, 2); }});
  cases.push_back({"expert sort, many experts", [] { return sort_case(3, 2, 600, 7); }});
  cases.push_back({"expert sort, all the same", [] { return sort_case(300, 1, 4, 0); }});
  cases.push_back({"expert sort, no pair", [] { return sort_case(0, 2, 3, 1); }});
  cases.push_back({"expert sort, one expert", [] { return sort_case(3, 1, 1, 0); }});
  cases.push_back({"expert rows, numbers", numbers_case});
  add<float>(cases);
  add<bf16>(cases);
}

}  // namespace espalier::testing
