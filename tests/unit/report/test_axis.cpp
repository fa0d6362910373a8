#include <catch2/catch.hpp>
#include <cmath>
#include <limits>
#include <string>
#include <vector>

#include "report/axis.hpp"

using namespace espalier::report;

namespace {

constexpr double kNan = std::numeric_limits<double>::quiet_NaN();
constexpr double kInfinity = std::numeric_limits<double>::infinity();

std::string labels(Range range, bool logarithmic, int at_most) {
  std::string all;
  for (const Tick& tick : ticks(range, logarithmic, at_most))
    if (!tick.label.empty()) all += (all.empty() ? "" : " ") + tick.label;
  return all;
}

}  // namespace

TEST_CASE("ticks of a linear axis are multiples of 1, 2 or 5 times a power of ten") {
  CHECK(labels({0, 10}, false, 11) == "0 1 2 3 4 5 6 7 8 9 10");
  CHECK(labels({0, 10}, false, 10) == "0 2 4 6 8 10");
  CHECK(labels({0, 10}, false, 5) == "0 5 10");
  CHECK(labels({2.27, 2.42}, false, 8) == "2.28 2.30 2.32 2.34 2.36 2.38 2.40 2.42");
  CHECK(labels({-1, 1}, false, 6) == "-1.0 -0.5 0 0.5 1.0");
  CHECK(labels({0.1, 0.3}, false, 3) == "0.1 0.2 0.3");  // 3 * 0.1 is more than 0.3
}

TEST_CASE("large numbers of an axis have a letter, the same for all, and others a power of ten") {
  CHECK(labels({0, 82e9}, false, 6) == "0 20B 40B 60B 80B");
  CHECK(labels({1e9, 2e9}, false, 6) == "1.0B 1.2B 1.4B 1.6B 1.8B 2.0B");
  CHECK(labels({0, 8000}, false, 5) == "0 2000 4000 6000 8000");
  CHECK(labels({0, 20000}, false, 5) == "0 5K 10K 15K 20K");
  CHECK(labels({0, 3e-4}, false, 7) == "0 0.5×10⁻⁴ 1.0×10⁻⁴ 1.5×10⁻⁴ 2.0×10⁻⁴ 2.5×10⁻⁴ 3.0×10⁻⁴");
  CHECK(labels({0, 2e21}, false, 3) == "0 1×10²¹ 2×10²¹");
}

TEST_CASE("ticks of a logarithmic axis are 1, 2 and 5 times powers of ten while there is room") {
  CHECK(labels({8, 4096}, true, 10) == "10 20 50 100 200 500 1000 2000");
  CHECK(labels({8, 4096}, true, 5) == "10 100 1000");
  CHECK(labels({1e8, 1e12}, true, 6) == "100M 1B 10B 100B 1T");
  CHECK(labels({1e-6, 1e3}, true, 6) == "10⁻⁶ 10⁻⁴ 0.01 1 100");
  CHECK(labels({1e18, 1e22}, true, 5) == "10¹⁸ 10¹⁹ 10²⁰ 10²¹ 10²²");
  CHECK(labels({3e9, 4e9}, true, 6) == "3.0B 3.2B 3.4B 3.6B 3.8B 4.0B");
  // Between them marks without numbers.
  std::vector<double> marks;
  for (const Tick& tick : ticks({10, 1000}, true, 3))
    if (tick.label.empty()) marks.push_back(tick.value);
  CHECK(marks == std::vector<double>{20, 30, 40, 50, 60, 70, 80, 90, 200, 300, 400, 500, 600, 700,
                                     800, 900});
}

TEST_CASE("an axis in powers of two has all of them, and numbers on as many as there is room for") {
  const auto numbers = [](Range range, int at_most) {
    std::string all;
    for (const Tick& tick : ticks_of_two(range, at_most)) all += tick.label + " ";
    return all;
  };
  CHECK(numbers({0.9, 4.1}, 10) == "1 2 4 ");
  CHECK(numbers({1, 16384}, 20).ends_with("4096 8192 16384 "));
  CHECK(numbers({1, 64}, 4) == "1  4  16  64 ");
  CHECK(numbers({0.5, 1}, 4) == "0.5 1 ");
  CHECK(ticks_of_two({5, 7}, 4).empty());
}

TEST_CASE("ticks lie in their range, ascend, and their numbers are as many as allowed at most") {
  for (const bool logarithmic : {false, true})
    for (double low : {1e-90, 1e-9, 0.37, 1.0, 99.9, 1e6, 3.3e21, 1e60})
      for (double width : {1e-8, 1e-3, 0.5, 3.0, 77.0, 1e5, 1e12, 1e35})
        for (int at_most : {2, 3, 7, 12}) {
          const Range range{low, low * (1 + width)};
          if (!is_range(range, logarithmic)) continue;
          int numbers = 0;
          double last = -kInfinity;
          for (const Tick& tick : ticks(range, logarithmic, at_most)) {
            CHECK(tick.value > last);
            // Or beyond an end by less than can be seen.
            const double near = 1e-8 * (logarithmic ? tick.value : range.high - range.low);
            CHECK(tick.value >= range.low - near);
            CHECK(tick.value <= range.high + near);
            last = tick.value;
            numbers += tick.label.empty() ? 0 : 1;
          }
          CAPTURE(logarithmic, low, width, at_most);
          CHECK(numbers >= 1);
          CHECK(numbers <= at_most);
        }
}

TEST_CASE("a range holds the values that can stand, with room around a single one") {
  const auto range = [](std::vector<double> values, bool logarithmic, bool exact = false) {
    const Range r = range_of(values, logarithmic, exact);
    return std::pair(r.low, r.high);
  };
  CHECK(range({2.31, 7.9}, false) == std::pair(2.0, 8.0));
  CHECK(range({2.31, 7.9}, false, true) == std::pair(2.31, 7.9));
  CHECK(range({2.0, 8.0}, false) == std::pair(2.0, 8.0));
  CHECK(range({kNan, 3.0, -kInfinity, 4.0, kInfinity}, false, true) == std::pair(3.0, 4.0));
  CHECK(range({0.0, -5.0, 10.0, 1000.0}, true, true) == std::pair(10.0, 1000.0));
  CHECK(range({10.0}, true) == std::pair(5.0, 20.0));
  CHECK(range({}, true) == std::pair(1.0, 10.0));
  CHECK(range({kNan}, false) == std::pair(0.0, 1.0));
  for (const double value : {0.0, 1.0, -3.0, 1e9}) {
    const auto [low, high] = range({value, value}, false);
    CHECK(low < value);
    CHECK(high > value);
  }
  const auto [low, high] = range({10.0, 1000.0}, true);
  CHECK(low < 10.0);
  CHECK(high > 1000.0);
}

TEST_CASE("a scale maps the ends of its range to its pixels and what lies between in proportion") {
  const Scale x({10, 20}, false, 100, 300);
  CHECK(x(10) == 100);
  CHECK(x(20) == 300);
  CHECK(x(12.5) == 150);
  const Scale y({1, 10000}, true, 400, 0);  // upwards
  CHECK(y(1) == 400);
  CHECK(y(100) == Approx(200));
  CHECK(y(10000) == Approx(0).margin(1e-9));
  CHECK(y.shows(1));
  CHECK(y.shows(10000));
  for (const double value : {0.0, -1.0, 0.99, 10001.0, kNan, kInfinity})
    CHECK_FALSE(y.shows(value));
}

TEST_CASE("a number for people has three digits, letters, and powers of ten beyond") {
  for (const auto& [value, text] :
       std::vector<std::pair<double, std::string>>{{0, "0"},
                                                   {1, "1"},
                                                   {1.5, "1.5"},
                                                   {2.339658, "2.34"},
                                                   {100, "100"},
                                                   {1234, "1234"},
                                                   {81.727e9, "81.7B"},
                                                   {1.8299e9, "1.83B"},
                                                   {999999, "1M"},
                                                   {9999, "9999"},
                                                   {9999.7, "10K"},
                                                   {12.3456, "12.3"},
                                                   {99.96, "100"},
                                                   {12345, "12.3K"},
                                                   {1e12, "1T"},
                                                   {1.36e21, "1.36×10²¹"},
                                                   {1e15, "10¹⁵"},
                                                   {3e-4, "3×10⁻⁴"},
                                                   {0.001, "0.001"},
                                                   {0.00123456, "0.00123"},
                                                   {-2500, "-2500"},
                                                   {-1.5e6, "-1.5M"},
                                                   {9.999e-5, "10⁻⁴"},
                                                   {kNan, "nan"},
                                                   {1e-320, "10⁻³²⁰"},
                                                   {1.7e308, "1.7×10³⁰⁸"}})
    CHECK(short_number(value) == text);
  CHECK(short_number(2.339658, 5) == "2.3397");
}
