#include <catch2/catch.hpp>

#include <algorithm>
#include <bit>
#include <cmath>
#include <numeric>
#include <string>

#include "base/simd/convert.hpp"
#include "unit/base/simd/under_test.hpp"

// Every case runs at the level in force; ctest runs the program once per level.

namespace espalier {
namespace {

using Catch::Matchers::Contains;

#define AT_LEVEL(...) ESPALIER_AT_SIMD_LEVEL(simd_under_test, __VA_ARGS__)

std::vector<float> spread(float from, float to, std::size_t count) {
  std::vector<float> x(count);
  for (std::size_t i = 0; i < count; ++i)
    x[i] = from + (to - from) * static_cast<float>(i) / static_cast<float>(count);
  return x;
}

template <class Function>
double worst_error(const std::vector<float>& x, const std::vector<float>& got, Function&& exact) {
  double worst = 0.0;
  for (std::size_t i = 0; i < x.size(); ++i) {
    const double want = exact(static_cast<double>(x[i]));
    worst = std::max(worst, std::abs(static_cast<double>(got[i]) - want) / want);
  }
  return worst;
}

double exact_exp(double x) {
  return std::exp(x);
}
double exact_exp2(double x) {
  return std::exp2(x);
}

float exp_of(float value) {
  std::vector<float> x(16, value);
  AT_LEVEL(exp_all(x))
  return x[3];
}
float exp_for_bf16_of(float value) {
  std::vector<float> x(16, value);
  AT_LEVEL(exp_for_bf16_all(x))
  return x[3];
}

/// Every kind of tail below the kept bits, over positive and negative exponents of normal size, and
/// the special values.
std::vector<float> values_to_round() {
  std::vector<float> x;
  for (std::uint32_t i = 0; i < 4096; ++i) {
    const std::uint32_t word = ((i % 200 + 20) << 23) | (i * 0x9E3779B1u >> 9) | (i & 1u) << 31;
    x.push_back(std::bit_cast<float>(word));
  }
  for (float special : {0.0f, -0.0f, INFINITY, -INFINITY, 1.00390625f, 1.01171875f, 3.4e38f})
    x.push_back(special);
  while (x.size() % 16 != 0) x.push_back(1.0f);
  return x;
}

}  // namespace

TEST_CASE("vector exp has a relative error below 2e-7", "[simd]") {
  const std::vector<float> x = spread(-87.0f, 88.0f, 200000);
  std::vector<float> y = x;
  AT_LEVEL(exp_all(y))
  CHECK(worst_error(x, y, exact_exp) < 2e-7);
  CHECK(exp_of(0.0f) == 1.0f);
  CHECK(exp_of(-INFINITY) == 0.0f);
  CHECK(exp_of(-1000.0f) == 0.0f);
  CHECK(exp_of(INFINITY) == INFINITY);
  CHECK(std::isnan(exp_of(NAN)));
}

TEST_CASE("vector exp and exp2 for bf16 have a relative error below 5e-6", "[simd]") {
  const std::vector<float> x = spread(-87.0f, 87.0f, 200000);
  std::vector<float> y = x;
  AT_LEVEL(exp_for_bf16_all(y))
  CHECK(worst_error(x, y, exact_exp) < 2e-5);  // of which 1e-5 is x log2(e) in fp32
  const std::vector<float> powers = spread(-125.0f, 125.0f, 200000);
  y = powers;
  AT_LEVEL(exp2_for_bf16_all(y))
  CHECK(worst_error(powers, y, exact_exp2) < 5e-6);
  y = powers;
  AT_LEVEL(exp2_all(y))
  CHECK(worst_error(powers, y, exact_exp2) < 3e-7);
  for (const float far : {-128.0f, -1000.0f, -1e30f}) {
    y.assign(16, far);
    AT_LEVEL(exp2_all(y))
    CHECK(y[5] < 1e-38f);
    CHECK(y[5] >= 0.0f);
  }
  CHECK(exp_for_bf16_of(-INFINITY) == 0.0f);
  CHECK(exp_for_bf16_of(INFINITY) == INFINITY);
  CHECK(exp_for_bf16_of(1000.0f) == INFINITY);
  CHECK(std::isnan(exp_for_bf16_of(NAN)));
}

TEST_CASE("a vector is scaled by a power of two", "[simd]") {
  for (const float power : {-126.0f, -1.0f, 0.0f, 100.0f, 127.0f, 128.0f}) {
    CAPTURE(power);
    std::vector<float> x(16, 1.0f);
    AT_LEVEL(scale_all(x, power))
    CHECK(x[7] == static_cast<float>(std::ldexp(1.0, static_cast<int>(power))));
  }
}

TEST_CASE("sums and maxima across a vector", "[simd]") {
  std::vector<float> x(16);
  for (std::size_t i = 0; i < x.size(); ++i) x[i] = static_cast<float>(i * i % 11) - 4.0f;
  std::vector<float> results;
  AT_LEVEL(sums_and_maxima(x, results))
  const std::size_t lanes = 2 * x.size() / results.size();
  for (std::size_t i = 0; i < x.size(); i += lanes) {
    const auto begin = x.begin() + static_cast<std::ptrdiff_t>(i);
    const auto end = begin + static_cast<std::ptrdiff_t>(lanes);
    CHECK(results[2 * i / lanes] == std::accumulate(begin, end, 0.0f));
    CHECK(results[2 * i / lanes + 1] == *std::max_element(begin, end));
  }
}

TEST_CASE("a square of vectors is transposed", "[simd]") {
  std::vector<float> square(256);
  for (std::size_t i = 0; i < square.size(); ++i) square[i] = static_cast<float>(i);
  const std::vector<float> before = square;
  std::int64_t lanes = 0;
  AT_LEVEL(transpose_square(square, lanes))
  const auto n = static_cast<std::size_t>(lanes);
  REQUIRE(n >= 4);
  for (std::size_t i = 0; i < n; ++i)
    for (std::size_t j = 0; j < n; ++j) CHECK(square[i * n + j] == before[j * n + i]);
}

TEST_CASE("vector conversion to bf16 rounds as the scalar one", "[simd]") {
  const std::vector<float> x = values_to_round();
  std::vector<bf16> halves(x.size());
  std::vector<float> wide(x.size()), rounded = x;
  simd::round(halves.data(), x.data(), static_cast<std::int64_t>(x.size()));
  simd::widen(wide.data(), halves.data(), static_cast<std::int64_t>(x.size()));
  AT_LEVEL(rounded_all(rounded))
  for (std::size_t i = 0; i < x.size(); ++i) {
    CAPTURE(x[i]);
    CHECK(halves[i].bits == bf16(x[i]).bits);
    CHECK(wide[i] == static_cast<float>(halves[i]));
    CHECK(rounded[i] == wide[i]);
  }
  std::vector<float> nan(16, NAN);
  simd::round(halves.data(), nan.data(), 16);
  CHECK(std::isnan(static_cast<float>(halves[7])));
  AT_LEVEL(rounded_all(nan))
  CHECK(std::isnan(nan[7]));
}

TEST_CASE("conversion of any length writes its elements and no other", "[simd]") {
  for (std::int64_t count = 0; count < 40; ++count) {
    std::vector<float> in(40), wide(40, -1.0f);
    std::vector<bf16> halves(40, bf16(-1.0f));
    for (std::size_t i = 0; i < in.size(); ++i) in[i] = static_cast<float>(i + 1);
    simd::round(halves.data(), in.data(), count);
    simd::widen(wide.data(), halves.data(), count);
    for (std::size_t i = 0; i < in.size(); ++i) {
      const float want = static_cast<std::int64_t>(i) < count ? in[i] : -1.0f;
      CHECK(static_cast<float>(halves[i]) == want);
      CHECK(wide[i] == want);
    }
  }
}

TEST_CASE("tails neither read nor write past their end", "[simd]") {
  std::vector<float> in(16);
  for (std::size_t i = 0; i < in.size(); ++i) in[i] = static_cast<float>(i + 1);
  for (std::int64_t count = 1; count < 16; ++count) {
    simd_under_test::TailResult result;
    AT_LEVEL(tail(in, count, result))
    for (std::size_t i = 0; i < result.kept.size(); ++i) {
      const bool inside = static_cast<std::int64_t>(i) < count;
      CHECK(result.copied[i] == (inside ? 2.0f * in[i] : -1.0f));
      CHECK(static_cast<float>(result.halves[i]) == (inside ? in[i] : -1.0f));
      CHECK(result.loaded[i] == (inside ? in[i] : 0.0f));
      CHECK(result.kept[i] == (inside ? 5.0f : 9.0f));
    }
  }
}

TEST_CASE("SIMD levels have names, and one that is missing is refused with the best", "[simd]") {
  for (const simd::Level level : simd::supported_levels())
    CHECK(simd::level_from_name(simd::name_of(level)) == level);
  CHECK(simd::supported_levels().front() == simd::Level::portable);
  CHECK(simd::best_level() == simd::supported_levels().back());
  CHECK_THROWS_WITH(simd::level_from_name("avx1024"),
                    Contains("avx1024") && Contains("portable") && Contains("avx512_bf16"));
  for (const simd::Level level : {simd::Level::avx2, simd::Level::avx512, simd::Level::avx512_bf16})
    if (level > simd::best_level())
      CHECK_THROWS_WITH(simd::use_level(level),
                        Contains(std::string(simd::name_of(level))) &&
                            Contains(std::string(simd::name_of(simd::best_level()))));
}

}  // namespace espalier
