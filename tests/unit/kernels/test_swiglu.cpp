#include "kernels/mlp/swiglu.hpp"
#include "support.hpp"

namespace espalier {
namespace {

using testing::kRounding;
using testing::Matrix;
using testing::worst_error;

template <class T>
void check(std::int64_t rows, std::int64_t width) {
  CAPTURE(rows, width);
  device::Context context;
  Matrix<T> gate_up(rows, 2 * width, 5), d_out(rows, width, 2), out(rows, width, 3),
      out_again(rows, width, 1), d_gate_up(rows, 2 * width, 4);
  gate_up.randomize("gate_up", 3.0);
  d_out.randomize("d_out");
  const auto sigmoid = [&](auto r, auto c) { return 1.0 / (1.0 + std::exp(-gate_up(r, c))); };
  const auto want = [&](auto r, auto c) {
    return gate_up(r, c) * sigmoid(r, c) * gate_up(r, width + c);
  };
  // One rounding of the result, and the few of fp32 arithmetic before it.
  const double tolerance = kRounding<T> + 1e-6;
  kernels::swiglu_forward(context, {.gate_up = gate_up.view(), .out = out.view()});
  CHECK(worst_error(out, want, 1e-3) < tolerance);
  CHECK(out.padding_untouched());

  kernels::swiglu_backward(context, {.gate_up = gate_up.view(),
                                     .d_out = d_out.view(),
                                     .d_gate_up = d_gate_up.view(),
                                     .out = out_again.view()});
  CHECK(worst_error(out_again, want, 1e-3) < tolerance);
  const auto want_gradient = [&](auto r, auto column) {
    const auto c = column % width;
    const double s = sigmoid(r, c);
    const double g = gate_up(r, c);
    if (column >= width) return d_out(r, c) * g * s;
    return d_out(r, c) * gate_up(r, width + c) * s * (1.0 + g * (1.0 - s));
  };
  CHECK(worst_error(d_gate_up, want_gradient, 1e-1) < 2 * tolerance);
  CHECK(d_gate_up.padding_untouched());

  // In place, as the model calls it.
  kernels::swiglu_backward(context, {.gate_up = gate_up.view(),
                                     .d_out = d_out.view(),
                                     .d_gate_up = gate_up.view(),
                                     .out = d_out.view()});
  for (std::int64_t r = 0; r < rows; ++r)
    for (std::int64_t c = 0; c < width; ++c) {
      CHECK(gate_up(r, c) == d_gate_up(r, c));
      CHECK(gate_up(r, width + c) == d_gate_up(r, width + c));
      CHECK(d_out(r, c) == out_again(r, c));
    }
}

}  // namespace

TEMPLATE_TEST_CASE("swiglu and its gradient", "[swiglu]", float, bf16) {
  check<TestType>(4, 96);
  check<TestType>(33, 21);
  check<TestType>(1, 1);
}

TEST_CASE("swiglu at the ends of the range", "[swiglu]") {
  device::Context context;
  Matrix<float> gate_up(1, 8), out(1, 4);
  const double gates[] = {-200.0, 200.0, NAN, 0.0};
  for (std::int64_t c = 0; c < 4; ++c) {
    gate_up.at(0, c) = static_cast<float>(gates[c]);
    gate_up.at(0, 4 + c) = 2.0f;
  }
  kernels::swiglu_forward(context, {.gate_up = gate_up.view(), .out = out.view()});
  CHECK(std::abs(out(0, 0)) < 1e-30);
  CHECK(out(0, 1) == 400.0);
  CHECK(std::isnan(out(0, 2)));
  CHECK(out(0, 3) == 0.0);
}

}  // namespace espalier
