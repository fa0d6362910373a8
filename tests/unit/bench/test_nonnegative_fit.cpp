#include <catch2/catch.hpp>

#include "bench/nonnegative_fit.hpp"

using namespace espalier;

namespace {

/// 3 + 2e-9 x + 0 y over many sizes.
std::vector<bench::FitPoint> points() {
  std::vector<bench::FitPoint> all;
  for (int i = 1; i <= 12; ++i) {
    const double x = 1e9 * i * i, y = 1e6 * (13 - i);
    all.push_back({{1.0, x, y}, 3.0 + 2e-9 * x});
  }
  return all;
}

}  // namespace

TEST_CASE("a law without errors is found, terms of very different size among them") {
  const std::vector<double> c = bench::fit_nonnegative(points());
  REQUIRE(c.size() == 3);
  CHECK(c[0] == Approx(3.0).epsilon(1e-3));
  CHECK(c[1] == Approx(2e-9).epsilon(1e-3));
  CHECK(c[2] * 1e7 < 1e-2);
}

TEST_CASE("values that something disturbed do not move the others") {
  std::vector<bench::FitPoint> disturbed = points();
  disturbed[3].value *= 5.0;
  disturbed[8].value *= 2.0;
  const std::vector<double> c = bench::fit_nonnegative(disturbed);
  CHECK(c[0] == Approx(3.0).epsilon(0.02));
  CHECK(c[1] == Approx(2e-9).epsilon(0.02));
}

TEST_CASE("no coefficient is negative, although one would fit better") {
  std::vector<bench::FitPoint> falling;
  for (int i = 1; i <= 5; ++i) falling.push_back({{1.0, 1.0 * i}, 10.0 - i});
  for (const double c : bench::fit_nonnegative(falling)) CHECK(c >= 0.0);
}

TEST_CASE("a term that no point has gets nothing, and no points give no coefficients") {
  const std::vector<double> c = bench::fit_nonnegative({{{1.0, 0.0}, 2.0}, {{1.0, 0.0}, 2.0}});
  CHECK(c[0] == Approx(2.0));
  CHECK(c[1] == 0.0);
  CHECK(bench::fit_nonnegative({}).empty());
}
