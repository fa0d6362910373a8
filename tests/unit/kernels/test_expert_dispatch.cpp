// Pairs of token and expert: sorted, counted, their rows gathered and combined.
#include "kernels/moe/dispatch.hpp"

#include <algorithm>
#include <numeric>

#include "support.hpp"

namespace espalier {
namespace {

using testing::Ids;
using testing::Matrix;
using testing::worst_error;

/// k different experts of each token, some of the E never chosen.
std::vector<std::int32_t> choices(std::int64_t T, std::int64_t k, std::int64_t E) {
  std::vector<std::int32_t> chosen;
  for (std::int64_t t = 0; t < T; ++t)
    for (std::int64_t j = 0; j < k; ++j)
      chosen.push_back(static_cast<std::int32_t>((t * t + j * (E > k ? 2 : 1)) % E));
  return chosen;
}

struct Sorted {
  Sorted(std::vector<std::int32_t> experts, std::int64_t num_chosen, std::int64_t num_experts)
      : k(num_chosen),
        chosen(std::move(experts)),
        order(chosen.size(), -1),
        place(chosen.size(), -1),
        counts(static_cast<std::size_t>(num_experts), -1) {
    kernels::sort_by_expert(context, {.experts = pairs(chosen),
                                      .order = device::view_of(order.data(), 1, size()),
                                      .place = pairs(place),
                                      .counts = device::view_of(counts.data(), 1, num_experts)});
  }
  std::int64_t size() const { return static_cast<std::int64_t>(chosen.size()); }
  device::View pairs(std::vector<std::int32_t>& values) const {
    return device::view_of(values.data(), size() / k, k);
  }

  device::Context context;
  std::int64_t k;
  std::vector<std::int32_t> chosen, order, place, counts;
};

void check_sort(std::vector<std::int32_t> experts, std::int64_t k, std::int64_t E) {
  CAPTURE(experts.size(), k, E);
  const Sorted s(std::move(experts), k, E);
  std::vector<std::int32_t> want(s.chosen.size());
  std::iota(want.begin(), want.end(), 0);
  const auto expert = [&](std::int32_t pair) { return s.chosen[static_cast<std::size_t>(pair)]; };
  std::stable_sort(want.begin(), want.end(), [&](auto a, auto b) { return expert(a) < expert(b); });
  CHECK(s.order == want);
  for (std::size_t i = 0; i < want.size(); ++i)
    CHECK(s.place[static_cast<std::size_t>(want[i])] == static_cast<std::int32_t>(i));
  for (std::int64_t e = 0; e < E; ++e)
    CHECK(s.counts[static_cast<std::size_t>(e)] ==
          std::count(s.chosen.begin(), s.chosen.end(), static_cast<std::int32_t>(e)));
}

template <class T>
void check_rows(std::int64_t tokens, std::int64_t k, std::int64_t E, std::int64_t width) {
  CAPTURE(tokens, k, E, width);
  Sorted s(choices(tokens, k, E), k, E);
  Matrix<T> x(tokens, width, 3), rows(tokens * k, width, 1), out(tokens, width, 2),
      residual(tokens, width);
  Matrix<float> weights(tokens, k, 1);
  x.randomize("x");
  residual.randomize("residual");
  weights.randomize("weights");
  kernels::gather_rows(s.context, {.in = x.view(),
                                   .index = device::view_of(s.order.data(), 1, s.size()),
                                   .divisor = k,
                                   .out = rows.view()});
  for (std::int64_t r = 0; r < rows.rows(); ++r)
    for (std::int64_t c = 0; c < width; ++c)
      CHECK(rows(r, c) == x(s.order[static_cast<std::size_t>(r)] / k, c));
  CHECK(rows.padding_untouched());

  rows.randomize("rows");
  const auto sum = [&](std::int64_t t, std::int64_t c, bool weighted) {
    double total = 0.0;
    for (std::int64_t j = 0; j < k; ++j)
      total +=
          (weighted ? weights(t, j) : 1.0) * rows(s.place[static_cast<std::size_t>(t * k + j)], c);
    return total;
  };
  const auto combine = [&](bool weighted, device::ConstView add, device::View to) {
    kernels::combine_rows(s.context, {.rows = rows.view(),
                                      .place = s.pairs(s.place),
                                      .weights = weighted ? weights.view() : device::View{},
                                      .add = add,
                                      .out = to});
  };
  const double tolerance = testing::kRounding<T> + 1e-6;
  combine(true, {}, out.view());
  CHECK(worst_error(out, [&](auto t, auto c) { return sum(t, c, true); }) < tolerance);
  CHECK(out.padding_untouched());
  combine(false, residual.view(), out.view());
  const auto with_residual = [&](auto t, auto c) { return sum(t, c, false) + residual(t, c); };
  CHECK(worst_error(out, with_residual) < tolerance);
  combine(false, residual.view(), residual.view());  // in place
  for (std::int64_t t = 0; t < tokens; ++t)
    for (std::int64_t c = 0; c < width; ++c) CHECK(residual(t, c) == out(t, c));
}

}  // namespace

TEST_CASE("pairs are sorted by expert and keep their order", "[moe][dispatch]") {
  check_sort(choices(301, 5, 37), 5, 37);
  check_sort(choices(4, 3, 3), 3, 3);                  // k = E
  check_sort(std::vector<std::int32_t>(50, 6), 1, 9);  // one expert takes all
  check_sort({0, 0, 0}, 1, 1);
  check_sort({}, 2, 4);
}

TEST_CASE("an expert that is not there is refused", "[moe][dispatch]") {
  CHECK_THROWS_WITH(check_sort({0, 4}, 2, 4), Catch::Matchers::Contains("expert 4 of 4"));
  CHECK_THROWS_WITH(check_sort({-1, 0}, 2, 4), Catch::Matchers::Contains("expert -1 of 4"));
}

TEST_CASE("choices are counted by sequence or all together", "[moe][dispatch]") {
  constexpr std::int64_t kTokens = 11, kChosen = 3, E = 7;
  device::Context context;
  auto chosen = choices(kTokens, kChosen, E);
  for (const std::int64_t sequences : {1, 4}) {
    CAPTURE(sequences);
    Matrix<float> counts(sequences, E, 2);
    counts.fill(99.0);
    kernels::count_choices(context, {.experts = device::view_of(chosen.data(), kTokens, kChosen),
                                     .place = {.first_token = 6, .tokens_per_sequence = 5},
                                     .counts = counts.view()});
    const auto want = [&](std::int64_t b, std::int64_t e) {
      double count = 0.0;
      for (std::int64_t t = 0; t < kTokens; ++t)
        for (std::int64_t j = 0; j < kChosen; ++j)
          if (chosen[static_cast<std::size_t>(t * kChosen + j)] == e &&
              (sequences == 1 || (6 + t) / 5 == b))
            count += 1.0;
      return count;
    };
    CHECK(worst_error(counts, want) == 0.0);
    CHECK(counts.padding_untouched());
  }
}

TEMPLATE_TEST_CASE("rows are gathered for experts and combined for tokens", "[moe][dispatch]",
                   float, bf16) {
  check_rows<TestType>(23, 4, 9, 45);
  check_rows<TestType>(5, 1, 3, 64);
  check_rows<TestType>(1, 2, 2, 1);
}

TEST_CASE("whole numbers and weights are gathered, too", "[moe][dispatch]") {
  device::Context context;
  std::vector<std::int32_t> index = {4, 0, 4, 2}, in = {10, 11, 12, 13, 14}, out(4);
  kernels::gather_rows(context, {.in = device::view_of(in.data(), 5, 1),
                                 .index = device::view_of(index.data(), 1, 4),
                                 .out = device::view_of(out.data(), 4, 1)});
  CHECK(out == std::vector<std::int32_t>{14, 10, 14, 12});
}

}  // namespace espalier
