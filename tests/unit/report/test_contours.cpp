#include <algorithm>
#include <catch2/catch.hpp>
#include <cmath>
#include <limits>

#include "report/contours.hpp"

using namespace espalier::report;

namespace {

template <class Function>
std::vector<double> values_of(const std::vector<double>& xs, const std::vector<double>& ys,
                              const Function& f) {
  std::vector<double> values;
  for (const double y : ys)
    for (const double x : xs) values.push_back(f(x, y));
  return values;
}

std::vector<double> even(double low, double high, int count) {
  std::vector<double> list;
  for (int i = 0; i < count; ++i) list.push_back(low + (high - low) * i / (count - 1));
  return list;
}

}  // namespace

TEST_CASE("a contour of a plane is one straight line, from border to border, at the right place") {
  const std::vector<double> xs = even(0, 6, 7), ys = even(-2, 2, 9);
  const auto values = values_of(xs, ys, [](double x, double y) { return 3 * x + y; });
  const auto lines = contour_lines(xs, ys, values, 10.0);
  REQUIRE(lines.size() == 1);
  for (const Position& p : lines[0]) CHECK(3 * p.x + p.y == Approx(10.0));
  const auto [low, high] = std::minmax({lines[0].front().y, lines[0].back().y});
  CHECK(low == -2.0);
  CHECK(high == 2.0);
}

TEST_CASE("a contour inside the grid is closed, and on a circle as near as the grid is fine") {
  const std::vector<double> at = even(-1, 1, 41);
  const auto values = values_of(at, at, [](double x, double y) { return std::hypot(x, y); });
  const auto lines = contour_lines(at, at, values, 0.7);
  REQUIRE(lines.size() == 1);
  CHECK(lines[0].front().x == lines[0].back().x);
  CHECK(lines[0].front().y == lines[0].back().y);
  CHECK(lines[0].size() > 100);
  // Chords of cells of 0.05: at most 0.05^2 / (4 * 0.7) inside.
  for (const Position& p : lines[0]) CHECK(std::hypot(p.x, p.y) == Approx(0.7).margin(1e-3));
}

TEST_CASE("a saddle has two lines that part as the mean of its corners says") {
  const std::vector<double> at = {0, 1};
  const std::vector<double> values = {1, 0, 0, 1};  // high at (0, 0) and (1, 1)
  for (const double level : {0.4, 0.6}) {
    const auto lines = contour_lines(at, at, values, level);
    REQUIRE(lines.size() == 2);
    for (const Polyline& line : lines) {
      REQUIRE(line.size() == 2);
      // Below the mean of 0.5 the high corners hang together: lines cut off the low ones, (1, 0)
      // and (0, 1), where x - y keeps its sign; above it the high ones, where x + y - 1 does.
      const auto side = [&](const Position& p) {
        return level < 0.5 ? p.x - p.y : p.x + p.y - 1.0;
      };
      CHECK(side(line[0]) * side(line[1]) > 0.0);
    }
  }
}

TEST_CASE("several lines of a level are all found, and cells that are not finite have none") {
  const std::vector<double> xs = even(0, 10, 101), ys = even(0, 1, 3);
  auto values = values_of(xs, ys, [](double x, double) { return std::sin(x); });
  CHECK(contour_lines(xs, ys, values, 0.0).size() == 3);  // pi, 2 pi and 3 pi
  CHECK(contour_lines(xs, ys, values, 0.5).size() == 4);
  values[std::size_t(101) * 1 + 31] = std::numeric_limits<double>::quiet_NaN();  // beside pi
  CHECK(contour_lines(xs, ys, values, 0.0).size() == 2);
  CHECK(contour_lines(xs, ys, values, 2.0).empty());
}

TEST_CASE("levels are round, ascend, lie within the values and are spread evenly over them") {
  std::vector<double> values = even(0, 100, 1001);
  CHECK(contour_levels(values, 9) == std::vector<double>{10, 20, 30, 40, 50, 60, 70, 80, 90});
  for (double& v : values) v = std::exp(v / 10);  // from 1 to 22026
  const auto levels = contour_levels(values, 9);
  CHECK(levels.size() == 9);
  CHECK(std::is_sorted(levels.begin(), levels.end()));
  CHECK(levels.front() < 4);
  CHECK(levels.back() > 5000);
  CHECK(contour_levels(std::vector<double>(9, 2.5), 9).empty());
  CHECK(contour_levels(std::vector<double>{}, 9).empty());
  CHECK(contour_levels(std::vector<double>(3, std::nan("")), 9).empty());
}
