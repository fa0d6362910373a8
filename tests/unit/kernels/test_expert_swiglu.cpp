#include "kernels/moe/expert_swiglu.hpp"

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
  Matrix<T> gate_up(rows, 2 * width, 5), d_hidden(rows, width, 2), hidden(rows, width, 1),
      d_gate_up(rows, 2 * width, 4);
  Matrix<float> weights(rows, 1, 2), d_weights(rows, 1, 3);
  gate_up.randomize("gate_up", 2.0);
  d_hidden.randomize("d_hidden");
  weights.randomize("weights");
  const auto sigmoid = [&](auto r, auto c) { return 1.0 / (1.0 + std::exp(-gate_up(r, c))); };
  const auto activation = [&](auto r, auto c) {
    return gate_up(r, c) * sigmoid(r, c) * gate_up(r, width + c);
  };
  const auto call = [&](device::View d_gate_up_to, device::View hidden_to) {
    kernels::expert_swiglu_backward(context, {.gate_up = gate_up.view(),
                                              .d_hidden = d_hidden.view(),
                                              .row_weights = weights.view(),
                                              .d_gate_up = d_gate_up_to,
                                              .hidden = hidden_to,
                                              .d_row_weights = d_weights.view()});
  };
  call(d_gate_up.view(), hidden.view());
  const double tolerance = kRounding<T> + 1e-6;
  CHECK(worst_error(
            hidden, [&](auto r, auto c) { return weights(r, 0) * activation(r, c); }, 1e-3) <
        tolerance);
  const auto want_gradient = [&](auto r, auto column) {
    const auto c = column % width;
    const double s = sigmoid(r, c);
    const double g = gate_up(r, c);
    const double d = weights(r, 0) * d_hidden(r, c);
    if (column >= width) return d * g * s;
    return d * gate_up(r, width + c) * s * (1.0 + g * (1.0 - s));
  };
  CHECK(worst_error(d_gate_up, want_gradient, 1e-1) < 2 * tolerance);
  // The sum is of the activation in fp32; the host's exponential for bf16 is good to 2^-16.
  const auto want_weight = [&](auto r, auto) {
    double sum = 0.0;
    for (std::int64_t c = 0; c < width; ++c) sum += d_hidden(r, c) * activation(r, c);
    return sum;
  };
  CHECK(worst_error(d_weights, want_weight) < (sizeof(T) == 2 ? 2e-3 : 1e-5));
  CHECK(hidden.padding_untouched());
  CHECK(d_gate_up.padding_untouched());
  CHECK(d_weights.padding_untouched());

  // In place, as the model calls it.
  const Matrix<float> sums = d_weights;
  call(gate_up.view(), d_hidden.view());
  for (std::int64_t r = 0; r < rows; ++r)
    for (std::int64_t c = 0; c < width; ++c) {
      CHECK(gate_up(r, c) == d_gate_up(r, c));
      CHECK(gate_up(r, width + c) == d_gate_up(r, width + c));
      CHECK(d_hidden(r, c) == hidden(r, c));
    }
  CHECK(d_weights.same_bits(sums));
}

}  // namespace

TEMPLATE_TEST_CASE("an expert's activation with its row's weight, and their gradients",
                   "[moe][swiglu]", float, bf16) {
  check<TestType>(4, 96);
  check<TestType>(9, 717);
  check<TestType>(1, 1);
}

}  // namespace espalier
