// Products of groups of rows, each with a weight of its own, against sums in double precision.
#include "kernels/moe/grouped_product.hpp"

#include <numeric>

#include "kernels/moe/grouped_provider.hpp"
#include "support.hpp"

namespace espalier {
namespace {

using device::Output;
using testing::Matrix;
using testing::worst_error;

struct Groups {
  explicit Groups(const std::vector<std::int64_t>& sizes) : offsets(sizes.size() + 1, 0) {
    std::partial_sum(sizes.begin(), sizes.end(), offsets.begin() + 1);
  }
  std::int64_t number() const { return static_cast<std::int64_t>(offsets.size()) - 1; }
  std::int64_t rows() const { return offsets.back(); }
  std::int64_t begin(std::int64_t g) const { return offsets[static_cast<std::size_t>(g)]; }
  std::int64_t of(std::int64_t row) const {
    std::int64_t g = 0;
    while (row >= begin(g + 1)) ++g;
    return g;
  }
  std::vector<std::int64_t> offsets;
};

/// The sums' own error in fp32, of `terms` products of numbers of size 1, and one rounding.
template <class T>
double tolerance(std::int64_t terms) {
  return testing::kRounding<T> + 1e-6 * std::sqrt(static_cast<double>(terms));
}

template <class T>
void check(const std::vector<std::int64_t>& sizes, std::int64_t N, std::int64_t K) {
  CAPTURE(sizes, N, K);
  device::Context context;
  const Groups groups(sizes);
  const std::int64_t R = groups.rows();
  Matrix<T> x(R, K, 3), dy(R, N, 1), w(groups.number() * N, K, 5), y(R, N, 2), dx(R, K, 4);
  Matrix<float> dw(groups.number() * N, K, 3);
  x.randomize("x");
  dy.randomize("dy");
  w.randomize("w");
  kernels::grouped_forward(
      context, {.x = x.view(), .w = w.view(), .offsets = groups.offsets, .y = y.view()});
  const auto want_y = [&](std::int64_t r, std::int64_t n) {
    double sum = 0.0;
    for (std::int64_t k = 0; k < K; ++k) sum += x(r, k) * w(groups.of(r) * N + n, k);
    return sum;
  };
  CHECK(worst_error(y, want_y) < tolerance<T>(K));
  CHECK(y.padding_untouched());

  kernels::grouped_backward_input(
      context, {.dy = dy.view(), .w = w.view(), .offsets = groups.offsets, .dx = dx.view()});
  const auto want_dx = [&](std::int64_t r, std::int64_t k) {
    double sum = 0.0;
    for (std::int64_t n = 0; n < N; ++n) sum += dy(r, n) * w(groups.of(r) * N + n, k);
    return sum;
  };
  CHECK(worst_error(dx, want_dx) < tolerance<T>(N));
  CHECK(dx.padding_untouched());

  const auto weight = [&](Output output) {
    kernels::grouped_backward_weight(context, {.dy = dy.view(),
                                               .x = x.view(),
                                               .offsets = groups.offsets,
                                               .dw = dw.view(),
                                               .output = output});
  };
  const auto want_dw = [&](std::int64_t row, std::int64_t k) {
    const std::int64_t g = row / N;
    double sum = 0.0;
    for (std::int64_t r = groups.begin(g); r < groups.begin(g + 1); ++r)
      sum += dy(r, row % N) * x(r, k);
    return sum;
  };
  dw.fill(NAN);
  weight(Output::replace);
  CHECK(worst_error(dw, want_dw) < tolerance<float>(R + 1));
  weight(Output::accumulate);
  CHECK(worst_error(dw, [&](auto r, auto k) { return 2.0 * want_dw(r, k); }) <
        tolerance<float>(R + 1));
  CHECK(dw.padding_untouched());
}

}  // namespace

TEMPLATE_TEST_CASE("products of groups of rows", "[moe][grouped]", float, bf16) {
  check<TestType>({5, 0, 13, 1, 0}, 37, 29);
  check<TestType>({0, 400, 7}, 70, 41);    // several blocks of rows of a group
  check<TestType>({0, 0, 9, 0}, 32, 300);  // one expert takes all
  check<TestType>({6}, 300, 270);          // one expert; several blocks of columns and terms
  check<TestType>({1, 1, 1}, 1, 1);
  check<TestType>({0, 0}, 3, 5);
}

TEMPLATE_TEST_CASE("a row's product does not depend on the other rows", "[moe][grouped]", float,
                   bf16) {
  constexpr std::int64_t N = 50, K = 300, R = 397;
  device::Context context;
  Matrix<TestType> x(R, K), dy(R, N), w(2 * N, K), y(R, N), dx(R, K), one_y(1, N), one_dx(1, K);
  x.randomize("x");
  dy.randomize("dy");
  w.randomize("w");
  const std::vector<std::int64_t> offsets = {0, 3, R}, alone = {0, 0, 1};
  kernels::grouped_forward(context,
                           {.x = x.view(), .w = w.view(), .offsets = offsets, .y = y.view()});
  kernels::grouped_backward_input(
      context, {.dy = dy.view(), .w = w.view(), .offsets = offsets, .dx = dx.view()});
  for (const std::int64_t row : {std::int64_t{3}, std::int64_t{100}, R - 1}) {
    CAPTURE(row);
    kernels::grouped_forward(
        context,
        {.x = x.view().row_range(row, 1), .w = w.view(), .offsets = alone, .y = one_y.view()});
    kernels::grouped_backward_input(
        context,
        {.dy = dy.view().row_range(row, 1), .w = w.view(), .offsets = alone, .dx = one_dx.view()});
    for (std::int64_t n = 0; n < N; ++n) CHECK(one_y(0, n) == y(row, n));
    for (std::int64_t k = 0; k < K; ++k) CHECK(one_dx(0, k) == dx(row, k));
  }
}

TEST_CASE("what lies behind the last element of an odd row is not read", "[moe][grouped]") {
  device::Context context;
  Matrix<bf16> x(2, 4), w(3, 4), y(2, 3);
  x.fill(1.0);
  w.fill(2.0);
  for (std::int64_t r = 0; r < 2; ++r) x.at(r, 3) = bf16(NAN);
  for (std::int64_t r = 0; r < 3; ++r) w.at(r, 3) = bf16(NAN);
  kernels::grouped_forward(context, {.x = x.view().col_range(0, 3),
                                     .w = w.view().col_range(0, 3),
                                     .offsets = std::vector<std::int64_t>{0, 2},
                                     .y = y.view()});
  CHECK(worst_error(y, [](auto, auto) { return 6.0; }) == 0.0);
}

TEST_CASE("offsets that are not those of the rows are refused", "[moe][grouped]") {
  device::Context context;
  Matrix<float> x(4, 3), w(4, 3), y(4, 2);
  for (const std::vector<std::int64_t>& offsets :
       {std::vector<std::int64_t>{0, 3, 5}, {0, 5, 4}, {1, 2, 4}, {0, 4}})
    CHECK_THROWS_WITH(
        kernels::grouped_forward(context,
                                 {.x = x.view(), .w = w.view(), .offsets = offsets, .y = y.view()}),
        Catch::Matchers::Contains("groups of 4 rows"));
}

TEST_CASE("a grouped product costs what its rows do, whatever their groups", "[moe][grouped]") {
  device::Context context(device::Context::Counting{device::Backend::cuda});
  const auto planned = [](std::int64_t rows, std::int64_t cols) {
    return device::View{nullptr, DType::bf16, rows, cols, cols};
  };
  kernels::grouped_forward(
      context, {.x = planned(10, 8), .w = planned(4 * 6, 8), .offsets = {}, .y = planned(10, 6)});
  const auto costs = context.profiler().costs();
  const auto& cost = costs[static_cast<std::size_t>(device::Phase::other)];
  CHECK(cost.flops == 2.0 * 10 * 8 * 6);
  CHECK(cost.bytes == 2.0 * (10 * 8 + 4 * 6 * 8 + 10 * 6));
  CHECK(cost.calls == 1);
}

TEST_CASE("a plan names the kernel of experts' products and what a better one would need") {
  using kernels::describe_grouped_choice;
  CHECK(describe_grouped_choice(DType::bf16, 2048, 768, 90) == "wgmma");
  CHECK(describe_grouped_choice(DType::bf16, 2048, 768, 80) == "mma");
  CHECK(describe_grouped_choice(DType::bf16, 2048, 768, 100) == "mma");
  CHECK(describe_grouped_choice(DType::bf16, 2048, 768, 0) == "mma");  // emulated
  CHECK(describe_grouped_choice(DType::f32, 2048, 768, 90) ==
        "reference; mma needs bfloat16, not float32");
  CHECK(describe_grouped_choice(DType::bf16, 2048, 772, 90) ==
        "reference; mma needs hidden and expert sizes that 8 divides, not 2048 and 772");
}

}  // namespace espalier
