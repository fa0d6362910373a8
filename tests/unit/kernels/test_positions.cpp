#include "kernels/bias.hpp"
#include "kernels/embedding/positions.hpp"
#include "support.hpp"

namespace espalier {
namespace {

using testing::Ids;
using testing::kRounding;
using testing::Matrix;
using testing::worst_error;

template <class T>
void check_positions(std::int64_t tokens, std::int64_t width, std::int64_t rows) {
  CAPTURE(tokens, width, rows);
  device::Context context;
  std::vector<std::int32_t> numbers;  // sequences of different length, as documents have
  for (std::int64_t t = 0; t < tokens; ++t)
    numbers.push_back(static_cast<std::int32_t>((t < tokens / 3 ? t : t - tokens / 3) % rows));
  Ids<std::int32_t> positions(numbers);
  Matrix<T> table(rows, width, 2), x(tokens, width, 3), dx(tokens, width, 1);
  table.randomize("table");
  x.randomize("x");
  dx.randomize("dx");
  const Matrix<T> before = x;
  kernels::positions_forward(
      context, {.position_ids = positions.view(), .table = table.view(), .x = x.view()});
  CHECK(worst_error(x, [&](auto t, auto c) { return before(t, c) + table(positions[t], c); }) <=
        kRounding<T>);
  CHECK(x.padding_untouched());

  Matrix<float> d_table(rows, width, 4);
  d_table.fill(0.5);
  kernels::positions_backward(
      context, {.position_ids = positions.view(), .dx = dx.view(), .d_table = d_table.view()});
  CHECK(worst_error(d_table, [&](auto row, auto c) {
          double sum = 0.5;
          for (std::int64_t t = 0; t < tokens; ++t)
            if (positions[t] == row) sum += dx(t, c);
          return sum;
        }) < 1e-5);
  CHECK(d_table.padding_untouched());
}

template <class T>
void check_bias(std::int64_t rows, std::int64_t width) {
  CAPTURE(rows, width);
  device::Context context;
  Matrix<T> dy(rows, width, 3);
  dy.randomize("dy");
  Matrix<float> d_bias(1, width);
  d_bias.fill(0.25);
  kernels::bias_backward(context, {.dy = dy.view(), .d_bias = d_bias.view()});
  CHECK(worst_error(d_bias, [&](auto, auto c) {
          double sum = 0.25;
          for (std::int64_t r = 0; r < rows; ++r) sum += dy(r, c);
          return sum;
        }) < 3e-6);
  CHECK(d_bias.padding_untouched());
}

}  // namespace

TEMPLATE_TEST_CASE("learned positions and their gradient", "[positions]", float, bf16) {
  check_positions<TestType>(100, 48, 64);
  check_positions<TestType>(301, 19, 151);
  check_positions<TestType>(1, 1, 1);
}

TEST_CASE("a position past the table is refused with its number", "[positions]") {
  device::Context context;
  Ids<std::int32_t> positions({0, 7});
  Matrix<float> table(7, 3), x(2, 3);
  CHECK_THROWS_WITH(
      kernels::positions_forward(
          context, {.position_ids = positions.view(), .table = table.view(), .x = x.view()}),
      Catch::Contains("position 7 of 7"));
}

TEMPLATE_TEST_CASE("the gradient of a bias is the sum over rows", "[bias]", float, bf16) {
  check_bias<TestType>(5, 64);
  check_bias<TestType>(333, 77);  // several slices of rows, a tail
  check_bias<TestType>(1, 1);
}

}  // namespace espalier
