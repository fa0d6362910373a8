#include <signal.h>
#include <sys/resource.h>

#include <catch2/catch.hpp>
#include <cmath>
#include <limits>

#include "base/error.hpp"
#include "report/chart.hpp"
#include "support/scratch_folder.hpp"

using namespace espalier;
using namespace espalier::report;

namespace {

constexpr double kNan = std::numeric_limits<double>::quiet_NaN();

XyChart chart_of(std::vector<Series> series) {
  return {.title = "loss", .x = {"tokens"}, .y = {"nats"}, .series = std::move(series)};
}

std::size_t count(const std::string& text, const std::string& part) {
  std::size_t found = 0;
  for (std::size_t at = text.find(part); at != std::string::npos; at = text.find(part, at + 1))
    ++found;
  return found;
}

ExitStatus status_of(const std::string& path) {
  try {
    write_svg(path, "<svg/>");
  } catch (const Error& error) {
    CHECK(std::string(error.what()).find(path) != std::string::npos);
    return error.status();
  }
  return ExitStatus::ok;
}

}  // namespace

TEST_CASE("the same chart has the same bytes, and a file has them after its declaration") {
  const auto make = [] {
    Series run{"run", {}};
    for (int i = 0; i < 20000; ++i) run.points.push_back({i * 1.0, 3 + std::sin(i * 0.7) / 9});
    return chart_of({run, {"best", {{9000, 2.95, "here"}}, false}}).svg();
  };
  const std::string svg = make();
  CHECK(svg == make());
  const testing::ScratchFolder folder;
  write_svg(folder / "a.svg", svg);
  CHECK(testing::read_file(folder / "a.svg") ==
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n" + svg);
}

TEST_CASE("a chart never overwrites, and says which file it cannot write") {
  const testing::ScratchFolder folder;
  testing::write_file(folder / "a.svg", "mine");
  CHECK(status_of(folder / "a.svg") == ExitStatus::bad_configuration);
  CHECK(testing::read_file(folder / "a.svg") == "mine");
  std::filesystem::create_symlink(folder / "nowhere", folder / "b.svg");
  CHECK(status_of(folder / "b.svg") == ExitStatus::bad_configuration);
  CHECK_FALSE(std::filesystem::exists(folder / "nowhere"));
  CHECK(status_of(folder / "no folder/c.svg") == ExitStatus::io_error);
  CHECK(status_of(folder / "d.svg") == ExitStatus::ok);
}

TEST_CASE("of a chart that cannot be written whole nothing is left") {
  const testing::ScratchFolder folder;
  // As a full disk, in the midst of the second write.
  rlimit before{};
  REQUIRE(::getrlimit(RLIMIT_FSIZE, &before) == 0);
  const auto handler = ::signal(SIGXFSZ, SIG_IGN);
  const rlimit small{41, before.rlim_max};
  REQUIRE(::setrlimit(RLIMIT_FSIZE, &small) == 0);
  const ExitStatus status = status_of(folder / "a.svg");
  ::setrlimit(RLIMIT_FSIZE, &before);
  ::signal(SIGXFSZ, handler);
  CHECK(status == ExitStatus::io_error);
  CHECK(std::filesystem::is_empty(folder.path()));
}

TEST_CASE("charts without data say so") {
  const std::string said = "no data to draw";
  CHECK(count(chart_of({}).svg(), said) == 1);
  CHECK(count(chart_of({{"none", {{kNan, 1}, {1, kNan}, {1, HUGE_VAL}}}}).svg(), said) == 1);
  XyChart logarithmic = chart_of({{"none", {{1, 0}, {2, -1}}}});
  logarithmic.y.logarithmic = true;
  CHECK(count(logarithmic.svg(), said) == 1);
  CHECK(count(chart_of({{"one", {{1, 1}}}}).svg(), said) == 0);
  StackedBars bars{.title = "memory", .unit = "GiB", .parts = {"weights"}, .rows = {}};
  CHECK(count(bars.svg(), said) == 1);
  bars.rows = {{"a", {0.0}}, {"b", {kNan}}, {"c", {-1.0}}};
  CHECK(count(bars.svg(), said) == 1);
  bars.rows.push_back({"d", {1.0}});
  CHECK(count(bars.svg(), said) == 0);
  // A field without slope has no contours.
  XyChart flat = chart_of({});
  flat.contours = {.xs = {1, 2}, .ys = {1, 2}, .values = {3, 3, 3, 3}, .levels = {}};
  CHECK(count(flat.svg(), said) == 1);
}

TEST_CASE("points that cannot stand are left out and divide their line") {
  Series run{"run", {{1, 1}, {2, 2}, {3, kNan}, {4, 2}, {5, 3}}};
  const std::string svg = chart_of({run}).svg();
  CHECK(count(svg, "nan") == 0);
  CHECK(count(svg, "inf") == 0);
  CHECK(count(svg, "fill=\"none\"") == 3);  // two pieces, and the sample beside the name
  run.points[2].y = 2;
  CHECK(count(chart_of({run}).svg(), "fill=\"none\"") == 2);
}

TEST_CASE("thousands of points take no more room than their pixels") {
  const auto size_of = [](int points) {
    Series run{"run", {}};
    for (int i = 0; i < points; ++i)
      run.points.push_back({i / (points - 1.0), std::fmod(i * 0.618034, 1.0)});
    return chart_of({run}).svg().size();
  };
  CHECK(size_of(1000000) < 120000);
  Series cloud{"cloud", {}, false};
  for (int i = 0; i < 5000; ++i) cloud.points.push_back({i % 7 * 1.0, i % 5 * 1.0});
  CHECK(count(chart_of({cloud}).svg(), "<circle") == 7 * 5 + 1);
}

TEST_CASE("wished ends of an axis are kept, and those that make no range are not") {
  XyChart chart = chart_of({{"run", {{0, 10}, {50, 3}, {100, 2}}}});
  const std::string whole = chart.svg();
  CHECK(count(whole, ">10</text>") == 1);
  chart.y.high = 4;
  const std::string cut = chart.svg();
  CHECK(count(cut, ">10</text>") == 0);
  CHECK(count(cut, ">4.0</text>") == 1);
  chart.y.low = 4;
  CHECK(chart.svg() == whole);
  chart.y = {"nats", true, 0.0, 4.0};  // zero has no place
  CHECK(count(chart.svg(), ">10</text>") == 1);
}

TEST_CASE("amounts in bars, totals, what is over the limit, and its name are written") {
  const StackedBars bars{.title = "memory",
                         .unit = "GiB",
                         .parts = {"weights", "activations"},
                         .rows = {{"one", {10.25, 20}}, {"two", {60.04, 31.5}}},
                         .limit = 74.5,
                         .limit_name = "H100 80 GB"};
  const std::string svg = bars.svg();
  for (const char* text :
       {">A 10.2<", ">B 20.0<", ">A 60.0<", ">30.2<", ">91.5, 17.0 over<", ">H100 80 GB: 74.5 GiB<",
        ">A  weights<", ">B  activations<", ">one<", ">two<"}) {
    CAPTURE(text);
    CHECK(count(svg, text) == 1);
  }
}
