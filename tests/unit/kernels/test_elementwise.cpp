#include "kernels/elementwise.hpp"
#include "kernels/optim/adamw.hpp"
#include "support.hpp"

namespace espalier {
namespace {

using device::Context;
using testing::Matrix;
using testing::worst_error;

double sum_of_squares(Context& context, device::ConstView in) {
  double sum = -1.0;
  kernels::sums_of_squares(context, device::view_of(&sum, 1, 1), {&in, 1});
  return sum;
}

template <class T>
void check_adamw(std::int64_t rows, std::int64_t cols, std::int64_t padding, std::int64_t step) {
  CAPTURE(rows, cols, padding, step);
  Context context;
  Matrix<float> gradient(rows, cols, padding), p(rows, cols, padding), m(rows, cols, padding),
      v(rows, cols, padding);
  Matrix<T> weight(rows, cols, 2 * padding);
  gradient.randomize("gradient", 0.02);
  p.randomize("p", 0.5);
  m.randomize("m", 0.01);
  v.randomize("v", 1e-4);
  for (std::int64_t r = 0; r < rows; ++r)
    for (std::int64_t c = 0; c < cols; ++c) v.at(r, c) = std::abs(v.at(r, c));
  const Matrix<float> p0 = p, m0 = m, v0 = v;
  const kernels::AdamW call{.gradient = gradient.view(),
                            .master = p.view(),
                            .m = m.view(),
                            .v = v.view(),
                            .weight = weight.view(),
                            .learning_rate = 1e-3f,
                            .beta1 = 0.9f,
                            .beta2 = 0.95f,
                            .eps = 1e-8f,
                            .weight_decay = 0.1f,
                            .gradient_scale = 0.5f,
                            .step = step};
  kernels::adamw(context, {&call, 1});
  const auto new_m = [&](auto r, auto c) { return 0.9 * m0(r, c) + 0.1 * 0.5 * gradient(r, c); };
  const auto new_v = [&](auto r, auto c) {
    return 0.95 * v0(r, c) + 0.05 * 0.25 * gradient(r, c) * gradient(r, c);
  };
  const auto new_p = [&](auto r, auto c) {
    const double correction1 = 1.0 - std::pow(0.9, static_cast<double>(step));
    const double correction2 = 1.0 - std::pow(0.95, static_cast<double>(step));
    return p0(r, c) * (1.0 - 1e-3 * 0.1) -
           1e-3 * (new_m(r, c) / correction1) / (std::sqrt(new_v(r, c) / correction2) + 1e-8);
  };
  CHECK(worst_error(m, new_m, 1e-3) < 1e-6);
  CHECK(worst_error(v, new_v, 1e-6) < 1e-6);
  CHECK(worst_error(p, new_p, 1e-2) < 1e-6);
  // The weight is the master rounded once.
  for (std::int64_t r = 0; r < rows; ++r)
    for (std::int64_t c = 0; c < cols; ++c)
      CHECK(weight(r, c) == static_cast<double>(static_cast<float>(T(p.at(r, c)))));
  for (const auto* matrix : {&p, &m, &v}) CHECK(matrix->padding_untouched());
  CHECK(weight.padding_untouched());
}

template <class To, class From>
void check_cast(std::int64_t rows, std::int64_t cols, std::int64_t padding) {
  Context context;
  Matrix<From> in(rows, cols, padding);
  Matrix<To> out(rows, cols, padding * 2);
  in.randomize("in", 3.0);
  kernels::cast(context, out.view(), in.view());
  for (std::int64_t r = 0; r < rows; ++r)
    for (std::int64_t c = 0; c < cols; ++c)
      CHECK(out(r, c) ==
            static_cast<double>(static_cast<float>(To(static_cast<float>(in.at(r, c))))));
  CHECK(out.padding_untouched());
}

}  // namespace

TEMPLATE_TEST_CASE("AdamW as torch.optim.AdamW", "[adamw]", float, bf16) {
  check_adamw<TestType>(7, 33, 0, 1);
  check_adamw<TestType>(7, 33, 5, 1000);
  check_adamw<TestType>(1, 40001, 0, 2);
}

TEST_CASE("cast rounds to nearest even", "[elementwise]") {
  check_cast<bf16, float>(5, 37, 0);
  check_cast<bf16, float>(3, 20000, 3);
  check_cast<float, bf16>(5, 37, 3);
  check_cast<float, float>(2, 16, 0);
  check_cast<bf16, bf16>(2, 17, 1);
}

TEMPLATE_TEST_CASE("set_zero", "[elementwise]", float, bf16) {
  Context context;
  Matrix<TestType> out(9, 45, 2);
  out.randomize("out");
  kernels::set_zero(context, out.view());
  CHECK(worst_error(out, [](auto, auto) { return 0.0; }) == 0.0);
  CHECK(out.padding_untouched());
}

TEST_CASE("sum of squares in double precision", "[elementwise]") {
  Context context;
  for (const std::int64_t padding : {0, 3}) {
    Matrix<float> x(5, 30001, padding);
    x.randomize("x", 1e-3);
    double want = 0.0;
    for (std::int64_t r = 0; r < 5; ++r)
      for (std::int64_t c = 0; c < 30001; ++c) want += x(r, c) * x(r, c);
    CHECK(sum_of_squares(context, x.view()) == Approx(want).epsilon(1e-7));
    x.at(4, 30000) = NAN;
    CHECK(std::isnan(sum_of_squares(context, x.view())));
  }
  Matrix<float> none(0, 5);
  CHECK(sum_of_squares(context, none.view()) == 0.0);
}

}  // namespace espalier
