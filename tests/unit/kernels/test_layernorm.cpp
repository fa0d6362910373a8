#include "kernels/norm/layernorm.hpp"
#include "support.hpp"

namespace espalier {
namespace {

using device::Context;
using testing::kRounding;
using testing::Matrix;
using testing::worst_error;

constexpr float kEps = 1e-5f;

template <class T>
struct Row {
  const Matrix<T>& x;
  std::int64_t row;
  double mean = 0.0, inverse_std = 0.0;

  Row(const Matrix<T>& x_, std::int64_t row_) : x(x_), row(row_) {
    const auto n = static_cast<double>(x.cols());
    for (std::int64_t c = 0; c < x.cols(); ++c) mean += x(row, c) / n;
    double variance = 0.0;
    for (std::int64_t c = 0; c < x.cols(); ++c)
      variance += (x(row, c) - mean) * (x(row, c) - mean) / n;
    inverse_std = 1.0 / std::sqrt(variance + static_cast<double>(kEps));
  }
  double normalised(std::int64_t c) const { return (x(row, c) - mean) * inverse_std; }
};

template <class T>
void check(std::int64_t rows, std::int64_t width) {
  CAPTURE(rows, width);
  Context context;
  Matrix<T> x(rows, width, 3), delta(rows, width, 5), weight(1, width), bias(1, width),
      dy(rows, width, 2), d_residual(rows, width, 1);
  x.randomize("x", 2.0, 1.5);  // a mean away from zero
  delta.randomize("delta", 1.0);
  weight.randomize("weight", 0.3, 1.0);
  bias.randomize("bias", 0.5);
  dy.randomize("dy");
  d_residual.randomize("d_residual");

  Matrix<T> residual(rows, width, 7), y(rows, width, 4);
  Matrix<float> statistics(2, rows, 3);
  kernels::layernorm_forward(context, {.x = x.view(),
                                       .delta = delta.view(),
                                       .weight = weight.view(),
                                       .bias = bias.view(),
                                       .residual = residual.view(),
                                       .y = y.view(),
                                       .statistics = statistics.view(),
                                       .eps = kEps});
  CHECK(worst_error(residual, [&](auto r, auto c) { return x(r, c) + delta(r, c); }) <=
        kRounding<T>);
  const auto normed = [&](auto r, auto c) {
    return Row(residual, r).normalised(c) * weight(0, c) + bias(0, c);
  };
  // bf16: one rounding; f32: a few of 2^-24. A row of one element has no deviation at all.
  CHECK(worst_error(y, normed) < (sizeof(T) == 2 ? 1.01 * kRounding<T> : 1e-6));
  CHECK(worst_error(statistics, [&](auto kind, auto r) {
          const Row row(residual, r);
          return kind == 0 ? row.mean : row.inverse_std;
        }) < 2e-6);
  CHECK(y.padding_untouched());
  CHECK(residual.padding_untouched());
  CHECK(statistics.padding_untouched());

  // Without delta the same row gives the same bits.
  Matrix<T> again(rows, width, 4);
  kernels::layernorm_forward(context, {.x = residual.view(),
                                       .delta = {},
                                       .weight = weight.view(),
                                       .bias = bias.view(),
                                       .residual = {},
                                       .y = again.view(),
                                       .statistics = statistics.view(),
                                       .eps = kEps});
  CHECK(again.same_bits(y));

  Matrix<T> dx(rows, width, 6);
  Matrix<float> d_weight(1, width), d_bias(1, width);
  d_weight.fill(0.5);
  d_bias.fill(-0.5);
  kernels::layernorm_backward(context, {.dy = dy.view(),
                                        .x = residual.view(),
                                        .weight = weight.view(),
                                        .statistics = statistics.view(),
                                        .d_residual = d_residual.view(),
                                        .dx = dx.view(),
                                        .d_weight = d_weight.view(),
                                        .d_bias = d_bias.view()});
  for (std::int64_t r = 0; r < rows; ++r) {
    const Row row(residual, r);
    double mean_gradient = 0.0, mean_product = 0.0;
    for (std::int64_t c = 0; c < width; ++c) {
      const double g = dy(r, c) * weight(0, c) / static_cast<double>(width);
      mean_gradient += g;
      mean_product += g * row.normalised(c);
    }
    double worst = 0.0;
    for (std::int64_t c = 0; c < width; ++c) {
      const double want =
          d_residual(r, c) + row.inverse_std * (dy(r, c) * weight(0, c) - mean_gradient -
                                                row.normalised(c) * mean_product);
      worst = std::max(worst, std::abs(dx(r, c) - want) / (1.0 + std::abs(want)));
    }
    // A row of one element has inverse_std = eps^(-1/2) = 316, which magnifies rounding.
    const double magnified = std::max(1.0, row.inverse_std / 10.0);
    CHECK(worst < (sizeof(T) == 2 ? kRounding<T> * 1.01 : 1e-6) * magnified);
  }
  CHECK(worst_error(d_weight, [&](auto, auto c) {
          double sum = 0.5;
          for (std::int64_t r = 0; r < rows; ++r) sum += dy(r, c) * Row(residual, r).normalised(c);
          return sum;
        }) < 5e-6);
  CHECK(worst_error(d_bias, [&](auto, auto c) {
          double sum = -0.5;
          for (std::int64_t r = 0; r < rows; ++r) sum += dy(r, c);
          return sum;
        }) < 3e-6);
  CHECK(dx.padding_untouched());
}

}  // namespace

TEMPLATE_TEST_CASE("layernorm and its gradient", "[layernorm]", float, bf16) {
  check<TestType>(5, 64);
  check<TestType>(150, 77);  // several slices of rows, a tail
  check<TestType>(1, 1);
  check<TestType>(3, 1600);
}

TEST_CASE("layernorm's gradient agrees with differences", "[layernorm]") {
  Context context;
  constexpr std::int64_t kWidth = 19;
  Matrix<float> x(2, kWidth), weight(1, kWidth), bias(1, kWidth), dy(2, kWidth), y(2, kWidth),
      dx(2, kWidth), d_weight(1, kWidth), d_bias(1, kWidth), statistics(2, 2);
  x.randomize("x");
  weight.randomize("weight", 0.3, 1.0);
  bias.randomize("bias");
  dy.randomize("dy");
  const auto loss = [&] {
    kernels::layernorm_forward(context, {.x = x.view(),
                                         .delta = {},
                                         .weight = weight.view(),
                                         .bias = bias.view(),
                                         .residual = {},
                                         .y = y.view(),
                                         .statistics = statistics.view(),
                                         .eps = kEps});
    double sum = 0.0;
    for (std::int64_t r = 0; r < 2; ++r)
      for (std::int64_t c = 0; c < kWidth; ++c) sum += y(r, c) * dy(r, c);
    return sum;
  };
  loss();
  kernels::layernorm_backward(context, {.dy = dy.view(),
                                        .x = x.view(),
                                        .weight = weight.view(),
                                        .statistics = statistics.view(),
                                        .d_residual = {},
                                        .dx = dx.view(),
                                        .d_weight = d_weight.view(),
                                        .d_bias = d_bias.view()});
  const auto slope = [&](float& value) {
    const float start = value;
    constexpr float kStep = 0x1p-7f;
    value = start + kStep;
    const double up = loss();
    value = start - kStep;
    const double down = loss();
    value = start;
    return (up - down) / (2.0 * static_cast<double>(kStep));
  };
  // Differences of fp32 values near 10 over a step of 1/64: rounding 1e-4, curvature as much.
  for (std::int64_t c = 0; c < kWidth; ++c) {
    CHECK(slope(x.at(1, c)) == Approx(dx(1, c)).margin(5e-4));
    CHECK(slope(weight.at(0, c)) == Approx(d_weight(0, c)).margin(5e-4));
    CHECK(slope(bias.at(0, c)) == Approx(d_bias(0, c)).margin(5e-4));
  }
}

TEST_CASE("layernorm in place: residual over x, y over delta, dx over dy", "[layernorm]") {
  Context context;
  Matrix<bf16> x(9, 50), delta(9, 50), weight(1, 50), bias(1, 50), r(9, 50), y(9, 50);
  x.randomize("x");
  delta.randomize("delta");
  weight.randomize("weight");
  bias.randomize("bias");
  Matrix<float> statistics(2, 9), d_weight(1, 50), d_bias(1, 50);
  kernels::LayerNormForward call{.x = x.view(),
                                 .delta = delta.view(),
                                 .weight = weight.view(),
                                 .bias = bias.view(),
                                 .residual = r.view(),
                                 .y = y.view(),
                                 .statistics = statistics.view(),
                                 .eps = kEps};
  kernels::layernorm_forward(context, call);
  call.residual = x.view();
  call.y = delta.view();
  kernels::layernorm_forward(context, call);
  CHECK(x.same_bits(r));
  CHECK(delta.same_bits(y));

  Matrix<bf16> dx(9, 50);
  kernels::LayerNormBackward gradient{.dy = y.view(),
                                      .x = r.view(),
                                      .weight = weight.view(),
                                      .statistics = statistics.view(),
                                      .d_residual = {},
                                      .dx = dx.view(),
                                      .d_weight = d_weight.view(),
                                      .d_bias = d_bias.view()};
  kernels::layernorm_backward(context, gradient);
  gradient.dx = y.view();
  kernels::layernorm_backward(context, gradient);
  CHECK(y.same_bits(dx));
}

}  // namespace espalier
