#include "kernels/mlp/gelu.hpp"

#include <numbers>

#include "support.hpp"

namespace espalier {
namespace {

using testing::kRounding;
using testing::Matrix;
using testing::worst_error;

double gelu(double x) {
  const double u = std::sqrt(2.0 / std::numbers::pi) * (x + 0.044715 * x * x * x);
  return 0.5 * x * (1.0 + std::tanh(u));
}

double slope(double x) {
  const double u = std::sqrt(2.0 / std::numbers::pi) * (x + 0.044715 * x * x * x);
  const double du = std::sqrt(2.0 / std::numbers::pi) * (1.0 + 3.0 * 0.044715 * x * x);
  const double t = std::tanh(u);
  return 0.5 * (1.0 + t) + 0.5 * x * (1.0 - t * t) * du;
}

template <class T>
void check(std::int64_t rows, std::int64_t width) {
  CAPTURE(rows, width);
  device::Context context;
  Matrix<T> x(rows, width, 5), d_out(rows, width, 2), out(rows, width, 3),
      out_again(rows, width, 1), d_x(rows, width, 4);
  x.randomize("x", 2.0);
  d_out.randomize("d_out");
  // One rounding of the result, and the few of fp32 arithmetic before it.
  const double tolerance = kRounding<T> + 1e-6;
  kernels::gelu_forward(context, {.x = x.view(), .out = out.view()});
  CHECK(worst_error(
            out, [&](auto r, auto c) { return gelu(x(r, c)); }, 1e-1) < tolerance);
  CHECK(out.padding_untouched());

  kernels::gelu_backward(
      context, {.x = x.view(), .d_out = d_out.view(), .d_x = d_x.view(), .out = out_again.view()});
  CHECK(worst_error(
            d_x, [&](auto r, auto c) { return d_out(r, c) * slope(x(r, c)); }, 1e-1) <
        2 * tolerance);
  CHECK(d_x.padding_untouched());
  for (std::int64_t r = 0; r < rows; ++r)
    for (std::int64_t c = 0; c < width; ++c) CHECK(out_again(r, c) == out(r, c));

  // In place, as the model calls it.
  kernels::gelu_backward(
      context, {.x = x.view(), .d_out = d_out.view(), .d_x = x.view(), .out = d_out.view()});
  for (std::int64_t r = 0; r < rows; ++r)
    for (std::int64_t c = 0; c < width; ++c) {
      CHECK(x(r, c) == d_x(r, c));
      CHECK(d_out(r, c) == out(r, c));
    }
}

}  // namespace

TEMPLATE_TEST_CASE("gelu and its gradient", "[gelu]", float, bf16) {
  check<TestType>(4, 96);
  check<TestType>(33, 21);
  check<TestType>(1, 1);
}

TEST_CASE("gelu's gradient agrees with differences", "[gelu]") {
  device::Context context;
  constexpr std::int64_t kCount = 37;
  constexpr double kStep = 0x1p-9;
  Matrix<float> x(1, kCount), one(1, kCount), d_x(1, kCount), up(1, kCount), down(1, kCount),
      out(1, kCount);
  for (std::int64_t c = 0; c < kCount; ++c) x.at(0, c) = -4.5f + 0.25f * static_cast<float>(c);
  one.fill(1.0);
  const auto shifted = [&](double step) {
    Matrix<float> moved(1, kCount);
    for (std::int64_t c = 0; c < kCount; ++c) moved.at(0, c) = static_cast<float>(x(0, c) + step);
    return moved;
  };
  Matrix<float> above = shifted(kStep), below = shifted(-kStep);
  kernels::gelu_forward(context, {.x = above.view(), .out = up.view()});
  kernels::gelu_forward(context, {.x = below.view(), .out = down.view()});
  kernels::gelu_backward(
      context, {.x = x.view(), .d_out = one.view(), .d_x = d_x.view(), .out = out.view()});
  // fp32 values up to 4.5 over a step of 2^-8: rounding up to 1e-4.
  CHECK(worst_error(d_x, [&](auto, auto c) { return (up(0, c) - down(0, c)) / (2.0 * kStep); }) <
        2e-4);
}

TEST_CASE("gelu at the ends of the range", "[gelu]") {
  device::Context context;
  Matrix<float> x(1, 5), out(1, 5), d_x(1, 5), d_out(1, 5);
  const double values[] = {-200.0, 200.0, NAN, 0.0, -6.0};
  for (std::int64_t c = 0; c < 5; ++c) x.at(0, c) = static_cast<float>(values[c]);
  d_out.fill(1.0);
  kernels::gelu_forward(context, {.x = x.view(), .out = out.view()});
  CHECK(std::abs(out(0, 0)) < 1e-30);
  CHECK(out(0, 1) == 200.0);
  CHECK(std::isnan(out(0, 2)));
  CHECK(out(0, 3) == 0.0);
  // Far below zero there are digits left where 1 + tanh(u) in fp32 has none.
  const double u = std::sqrt(2.0 / std::numbers::pi) * (-6.0 - 0.044715 * 216.0);
  CHECK(std::abs(out(0, 4) * (1.0 + std::exp(-2.0 * u)) / -6.0 - 1.0) < 1e-5);
  kernels::gelu_backward(
      context, {.x = x.view(), .d_out = d_out.view(), .d_x = d_x.view(), .out = out.view()});
  CHECK(std::abs(d_x(0, 0)) < 1e-30);
  CHECK(d_x(0, 1) == 1.0);
  CHECK(d_x(0, 3) == 0.5);
}

}  // namespace espalier
