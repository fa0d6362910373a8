// Products of widened bf16, beyond the cases of test_gemm.cpp that this program holds as well.
#include <algorithm>
#include <array>
#include <catch2/catch.hpp>
#include <cmath>
#include <cstring>

#include "device/gemm_widened.hpp"
#include "device/widen_transposed.hpp"
#include "strided_matrix.hpp"

namespace espalier::device {
namespace {

/// (tokens, outputs, inputs) that need more than one block along one side or all sides, in one of
/// the three uses or in all; none is a multiple of anything. Rows and columns are cut by the
/// scratch, sums at 1024.
constexpr std::array<std::array<std::int64_t, 3>, 6> kShapes = {{{40, 50, 1090},
                                                                 {1090, 130, 70},
                                                                 {41, 2931, 1091},
                                                                 {4111, 43, 69},
                                                                 {4111, 751, 69},
                                                                 {1811, 1723, 1093}}};

/// Integers from -4 to 4: sums of their products are exact in fp32, in any order.
template <class T>
Matrix<T> integers(std::int64_t rows, std::int64_t cols, std::int64_t padding,
                   std::string_view stream) {
  Matrix<T> matrix(rows, cols, padding, stream);
  for (T& value : matrix.values)
    value = T(std::clamp(std::round(2.0f * static_cast<float>(value)), -4.0f, 4.0f));
  return matrix;
}
template <class T>
Matrix<T> converted(const Matrix<bf16>& from) {
  Matrix<T> to(from.rows, from.cols, from.stride - from.cols, "any");
  for (std::size_t i = 0; i < to.values.size(); ++i)
    to.values[i] = T(static_cast<float>(from.values[i]));
  return to;
}

/// Elements that differ from `want` rounded once, and those between the rows that were written.
template <class T>
std::int64_t num_different(const Matrix<T>& got, const Matrix<float>& want,
                           const Matrix<T>& before) {
  std::int64_t different = 0;
  for (std::int64_t r = 0; r < got.rows; ++r) {
    for (std::int64_t c = 0; c < got.cols; ++c)
      different +=
          got(r, c) != static_cast<double>(static_cast<float>(T(static_cast<float>(want(r, c)))));
    for (std::int64_t c = got.cols; c < got.stride && r + 1 < got.rows; ++c)
      different += got(r, c) != before(r, c);
  }
  return different;
}

/// What fp32 products of the same integers say is exact; the one and the other library call have
/// no block in common.
template <class Out>
void check_integers(std::int64_t m, std::int64_t n, std::int64_t k, Output output) {
  CAPTURE(m, n, k, output == Output::accumulate, sizeof(Out));
  Gemm widened(Bf16Products::widened);
  Gemm exact;
  Matrix<bf16> x = integers<bf16>(m, k, 3, "x"), w = integers<bf16>(n, k, 5, "w"),
               dy = integers<bf16>(m, n, 1, "dy"), bias = integers<bf16>(1, n, 0, "bias");
  Matrix<float> x32 = converted<float>(x), w32 = converted<float>(w), dy32 = converted<float>(dy),
                bias32 = converted<float>(bias);
  const auto both = [&](std::int64_t rows, std::int64_t cols, auto&& multiply) {
    const auto old = integers<bf16>(rows, cols, 7, "old");
    const Matrix<Out> before = converted<Out>(old);
    Matrix<Out> got = before;
    Matrix<float> want = converted<float>(old);
    multiply(widened, got.view(), x.view(), w.view(), dy.view(), bias.view());
    multiply(exact, want.view(), x32.view(), w32.view(), dy32.view(), bias32.view());
    CHECK(num_different(got, want, before) == 0);
  };
  both(m, n,
       [&](Gemm& gemm, View out, View a, View b, View, View) { gemm.forward(out, a, b, output); });
  both(m, n, [&](Gemm& gemm, View out, View a, View b, View, View added) {
    gemm.forward(out, a, b, output, added);
  });
  both(m, k, [&](Gemm& gemm, View out, View, View b, View d, View) {
    gemm.backward_input(out, d, b, output);
  });
  if constexpr (std::is_same_v<Out, float>)
    both(n, k, [&](Gemm& gemm, View out, View a, View, View d, View) {
      gemm.backward_weight(out, d, a, output);
    });
}

}  // namespace

TEST_CASE("sums that are exact in fp32 are rounded once, in every block of every use", "[gemm]") {
  for (const auto& [m, n, k] : kShapes)
    for (const Output output : {Output::replace, Output::accumulate}) {
      if (m * n * k > (std::int64_t{1} << 30) && output == Output::replace) continue;  // long
      check_integers<bf16>(m, n, k, output);
      check_integers<float>(m, n, k, output);
    }
}

TEST_CASE("random numbers beyond a block: as near as fp32 sums are", "[gemm]") {
  Gemm gemm(Bf16Products::widened);
  for (const auto& [m, n, k] : kShapes) {
    CAPTURE(m, n, k);
    Matrix<bf16> x(m, k, 3, "x"), w(n, k, 5, "w"), y(m, n, 7, "y");
    const Matrix<bf16> y0 = y;
    gemm.forward(y.view(), x.view(), w.view(), Output::accumulate);
    // Every 97th element. Higham, Accuracy and Stability of Numerical Algorithms (2002), eq. 3.5:
    // a sum of products in any order is wrong by at most terms * 2^-24 of its absolute terms; then
    // one rounding: a bf16 has 8 significant bits and is wrong by at most 2^-8 of the value.
    double worst = 0.0;
    for (std::int64_t at = 0; at < m * n; at += 97) {
      const std::int64_t i = at / n;
      const std::int64_t j = at % n;
      double sum = y0(i, j);
      double absolute = std::abs(sum);
      for (std::int64_t c = 0; c < k; ++c) {
        const double product = x(i, c) * w(j, c);
        sum += product;
        absolute += std::abs(product);
      }
      const double sums = static_cast<double>(k + 1) * 0x1p-24 * absolute;
      worst = std::max(worst, std::abs(y(i, j) - sum) / (sums + 0x1p-8 * (std::abs(sum) + sums)));
    }
    CHECK(worst <= 1.0);
  }
}

TEST_CASE("a widened product has the same bits again, by another Gemm too", "[gemm]") {
  for (const auto& [m, n, k] : {std::array<std::int64_t, 3>{1811, 173, 1093}, {4111, 751, 69}}) {
    Matrix<bf16> x(m, k, 3, "x"), w(n, k, 5, "w"), y(m, n, 7, "y");
    Matrix<float> dw(n, k, 4, "dw");
    const auto y0 = y.values;
    const auto dw0 = dw.values;
    std::vector<bf16> first_y;
    std::vector<float> first_dw;
    for (int run = 0; run < 3; ++run) {
      Gemm gemm(Bf16Products::widened);
      y.values = y0;
      dw.values = dw0;
      gemm.forward(y.view(), x.view(), w.view(), Output::accumulate);
      gemm.backward_weight(dw.view(), y.view(), x.view(), Output::accumulate);
      if (run == 0) {
        first_y = y.values;
        first_dw = dw.values;
      }
      CHECK(std::memcmp(y.values.data(), first_y.data(), first_y.size() * sizeof(bf16)) == 0);
      CHECK(std::memcmp(dw.values.data(), first_dw.data(), first_dw.size() * sizeof(float)) == 0);
    }
  }
}

TEST_CASE("what is not a number stays none, and infinities stay", "[gemm]") {
  Gemm gemm(Bf16Products::widened);
  Matrix<bf16> x(5, 7, 1, "x"), w(3, 7, 0, "w"), y(5, 3, 2, "y");
  x.values[static_cast<std::size_t>(2 * x.stride + 4)] = bf16(std::nanf(""));
  x.values[static_cast<std::size_t>(3 * x.stride + 4)] = bf16(INFINITY);
  gemm.forward(y.view(), x.view(), w.view());
  for (std::int64_t j = 0; j < 3; ++j) {
    CHECK(std::isfinite(y(1, j)));
    CHECK(std::isnan(y(2, j)));
    CHECK(std::isinf(y(3, j)));
  }
}

TEST_CASE("a transposed copy is exact and fills its last group with zeros", "[gemm]") {
  for (const auto& [rows, cols] :
       {std::array<std::int64_t, 2>{1, 1}, {16, 16}, {37, 23}, {3, 70}}) {
    CAPTURE(rows, cols);
    const Matrix<bf16> in(rows, cols, 5, "in");
    const std::int64_t filled = (rows + kTransposedGroup - 1) / kTransposedGroup * kTransposedGroup;
    const std::int64_t stride = filled + 16;
    std::vector<float> out(static_cast<std::size_t>(cols * stride), -1.0f);
    widen_transposed(out.data(), stride, in.values.data(), in.stride, rows, cols);
    std::int64_t wrong = 0;
    for (std::int64_t c = 0; c < cols; ++c)
      for (std::int64_t r = 0; r < stride; ++r) {
        const double want = r < rows ? in(r, c) : r < filled ? 0.0 : -1.0;
        wrong += static_cast<double>(out[static_cast<std::size_t>(c * stride + r)]) != want;
      }
    CHECK(wrong == 0);
  }
}

TEST_CASE("the scratch of widened products is stated, and none where nothing is widened",
          "[gemm]") {
  CHECK(Gemm::host_scratch_bytes(DType::bf16, Bf16Products::widened) > 0);
  CHECK(Gemm::host_scratch_bytes(DType::bf16, Bf16Products::widened) <= std::int64_t{64} << 20);
  CHECK(Gemm::host_scratch_bytes(DType::f32, Bf16Products::widened) == 0);
  CHECK_THAT(Gemm(Bf16Products::widened).describe(), Catch::Contains("bf16 widened to fp32"));
  const bool widens = Gemm().describe().find("widened") != std::string::npos;
  CHECK((Gemm::host_scratch_bytes(DType::bf16) > 0) == widens);
}

TEST_CASE("a row of a widened product does not depend on the rows beside it", "[gemm]") {
  Gemm gemm(Bf16Products::widened);
  for (const std::int64_t k : {24, 96, 1024}) {
    Matrix<bf16> x(240, k, 0, "x"), w(97, k, 0, "w"), all(240, 97, 0, "y");
    gemm.forward(all.view(), x.view(), w.view());
    for (std::int64_t rows = 1; rows <= 33; ++rows) {
      CAPTURE(k, rows);
      Matrix<bf16> part(rows, 97, 0, "part");
      View some = x.view();
      some.rows = rows;
      gemm.forward(part.view(), some, w.view());
      std::int64_t num_different = 0;
      for (std::int64_t r = 0; r < rows; ++r)
        for (std::int64_t c = 0; c < 97; ++c) num_different += part(r, c) != all(r, c) ? 1 : 0;
      CHECK(num_different == 0);
    }
  }
}

}  // namespace espalier::device
