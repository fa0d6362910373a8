#include <array>
#include <catch2/catch.hpp>
#include <cmath>
#include <vector>

#include "gemm_under_test.hpp"
#include "strided_matrix.hpp"

namespace espalier::device {
namespace {

/// Largest |got - want| over the size of a sum of so many terms of size 1, or of the result where
/// that is larger.
template <class T, class Want>
double worst_error(const Matrix<T>& got, std::int64_t terms, Want&& want) {
  double worst = 0.0;
  for (std::int64_t r = 0; r < got.rows; ++r)
    for (std::int64_t c = 0; c < got.cols; ++c) {
      const double expected = want(r, c);
      const double scale = std::max(std::sqrt(static_cast<double>(terms)), std::abs(expected));
      worst = std::max(worst, std::abs(got(r, c) - expected) / scale);
    }
  return worst;
}

template <class T, class Out>
void check(std::int64_t m, std::int64_t n, std::int64_t k) {
  CAPTURE(m, n, k);
  // A result in bf16 is rounded once, to 2^-8 of itself, and the library may round the product
  // before it adds what was there; accumulation in fp32 leaves about 1e-7 of each term.
  const double tolerance = sizeof(Out) == 2 ? 2 * 0x1p-8 : 2e-6;
  Gemm gemm = gemm_under_test();
  Matrix<T> x(m, k, 3, "x"), w(n, k, 5, "w"), dy(m, n, 1, "dy");
  for (const Output output : {Output::replace, Output::accumulate}) {
    const double keep = output == Output::accumulate ? 1.0 : 0.0;
    // Twice: the second call takes the cached primitive.
    for (int repeat = 0; repeat < 2; ++repeat) {
      Matrix<Out> y(m, n, 7, "y"), dx(m, k, 2, "dx");
      Matrix<float> dw(n, k, 4, "dw");
      const Matrix<Out> y0 = y, dx0 = dx;
      const Matrix<float> dw0 = dw;
      gemm.forward(y.view(), x.view(), w.view(), output);
      gemm.backward_input(dx.view(), dy.view(), w.view(), output);
      gemm.backward_weight(dw.view(), dy.view(), x.view(), output);
      CHECK(worst_error(y, k, [&](auto i, auto j) {
              double sum = keep * y0(i, j);
              for (std::int64_t c = 0; c < k; ++c) sum += x(i, c) * w(j, c);
              return sum;
            }) < tolerance);
      CHECK(worst_error(dx, n, [&](auto i, auto j) {
              double sum = keep * dx0(i, j);
              for (std::int64_t c = 0; c < n; ++c) sum += dy(i, c) * w(c, j);
              return sum;
            }) < tolerance);
      CHECK(worst_error(dw, m, [&](auto i, auto j) {
              double sum = keep * dw0(i, j);
              for (std::int64_t c = 0; c < m; ++c) sum += dy(c, i) * x(c, j);
              return sum;
            }) < 2e-6);
      // Nothing between the rows was written.
      for (std::int64_t r = 0; r + 1 < m; ++r) CHECK(y(r, n) == y0(r, n));
    }
  }
}

}  // namespace

TEST_CASE("the three products of a linear layer", "[gemm]") {
  for (const auto& [m, n, k] : std::vector<std::array<std::int64_t, 3>>{
           {37, 29, 23}, {1, 64, 48}, {64, 1, 16}, {128, 96, 1}, {1, 1, 1}, {65, 130, 34}}) {
    check<float, float>(m, n, k);
    check<bf16, float>(m, n, k);
    check<bf16, bf16>(m, n, k);
  }
}

TEMPLATE_TEST_CASE("a bias is added to every row, with and without what was there", "[gemm]", float,
                   bf16) {
  const double tolerance = sizeof(TestType) == 2 ? 2 * 0x1p-8 : 2e-6;
  for (const auto& [m, n, k] :
       std::vector<std::array<std::int64_t, 3>>{{37, 29, 23}, {1, 64, 48}, {64, 1, 16}, {1, 1, 1}})
    for (const Output output : {Output::replace, Output::accumulate}) {
      CAPTURE(m, n, k);
      Gemm gemm = gemm_under_test();
      Matrix<TestType> x(m, k, 3, "x"), w(n, k, 5, "w"), bias(1, n, 0, "bias"), y(m, n, 7, "y");
      const Matrix<TestType> y0 = y;
      gemm.forward(y.view(), x.view(), w.view(), output, bias.view());
      CHECK(worst_error(y, k, [&](auto i, auto j) {
              double sum = bias(0, j) + (output == Output::accumulate ? y0(i, j) : 0.0);
              for (std::int64_t c = 0; c < k; ++c) sum += x(i, c) * w(j, c);
              return sum;
            }) < tolerance);
      for (std::int64_t r = 0; r + 1 < m; ++r) CHECK(y(r, n) == y0(r, n));
      // The same product without bias is another primitive.
      Matrix<TestType> plain(m, n, 7, "y");
      gemm.forward(plain.view(), x.view(), w.view());
      CHECK(worst_error(plain, k, [&](auto i, auto j) {
              double sum = 0.0;
              for (std::int64_t c = 0; c < k; ++c) sum += x(i, c) * w(j, c);
              return sum;
            }) < tolerance);
    }
}

TEST_CASE("shapes that do not fit are refused with their sizes", "[gemm]") {
  Gemm gemm = gemm_under_test();
  Matrix<float> x(4, 5, 0, "x"), w(3, 6, 0, "w"), y(4, 3, 0, "y");
  CHECK_THROWS_WITH(gemm.forward(y.view(), x.view(), w.view()),
                    Catch::Contains("(4, 5)") && Catch::Contains("(3, 6)"));
}

}  // namespace espalier::device
