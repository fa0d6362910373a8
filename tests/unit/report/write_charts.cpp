// Charts for test_svg.py: report_charts <folder>.
#include <cmath>
#include <cstdio>
#include <exception>
#include <limits>
#include <string>

#include "report/chart.hpp"

using namespace espalier::report;

namespace {

const std::string kHostile = "<b> & \"quotes\" 'n' ]]> \x01 \xFF 中 ×";

/// Chinchilla's law (Hoffmann and others, 2022) over parameters and tokens, and a budget.
XyChart loss_chart() {
  XyChart chart{.title = "loss " + kHostile,
                .x = {"parameters " + kHostile, true},
                .y = {"tokens", true},
                .series = {}};
  Contours grid;
  for (int i = 0; i <= 40; ++i) {
    grid.xs.push_back(3e8 * std::pow(20.0, i / 40.0));
    grid.ys.push_back(1e10 * std::pow(100.0, i / 40.0));
  }
  for (const double d : grid.ys)
    for (const double n : grid.xs)
      grid.values.push_back(1.69 + 406.4 / std::pow(n, 0.34) + 410.7 / std::pow(d, 0.28));
  chart.contours = grid;
  Series budget{"budget", {}};
  for (int i = 0; i <= 100; ++i) {
    const double n = 1e8 * std::pow(100.0, i / 100.0);
    budget.points.push_back({n, 1.36e21 / 6 / n});
  }
  Series candidates{"candidates " + kHostile, {}, false};
  for (const auto& [n, d] : {std::pair{1.83, 81.727},
                             {0.638, 313.818},
                             {0.747, 233.091},
                             {1.127, 91.818},
                             {0.613, 202.818},
                             {0.714, 152.364},
                             {1.78, 51.455}})
    candidates.points.push_back({n * 1e9, d * 1e9, "candidate " + std::to_string(n)});
  chart.series = {budget, candidates};
  return chart;
}

/// Points whose places test_svg.py knows.
XyChart known_chart() {
  XyChart chart{.title = "", .x = {"x"}, .y = {"y", true}, .series = {}};
  chart.series = {{"", {{0, 1}, {5, 10}, {10, 100}, {20, 10000}}, false}};
  return chart;
}

XyChart runs_chart() {
  XyChart chart{.title = "runs", .x = {"step"}, .y = {"loss"}, .series = {}};
  for (int k = 0; k < 3; ++k) {
    Series run{"run " + std::to_string(k), {}};
    for (int i = 1; i <= 5000; ++i)
      run.points.push_back(
          {1.0 * i, 2.5 - 0.1 * k + 8 * std::exp(-i / 150.0) + 0.1 * std::fmod(i * 0.618034, 1.0)});
    run.points[2000].y = std::numeric_limits<double>::quiet_NaN();
    chart.series.push_back(run);
  }
  return chart;
}

StackedBars memory_chart() {
  StackedBars chart{.title = "memory",
                    .unit = "GiB",
                    .parts = {},
                    .rows = {},
                    .limit = 30.0,
                    .limit_name = "limit " + kHostile};
  for (int i = 0; i < 30; ++i) chart.parts.push_back("part " + std::to_string(i));
  for (int r = 0; r < 4; ++r) {
    StackedBars::Row row{"layout " + std::to_string(r) + " " + kHostile, {}};
    for (int i = 0; i < 30; ++i) row.amounts.push_back((i + r) % 5 * 0.5);
    row.amounts[3] = -1.0;
    row.amounts[4] = std::numeric_limits<double>::infinity();
    chart.rows.push_back(row);
  }
  return chart;
}

/// Stretches whose places test_svg.py knows, and what cannot be drawn.
Timeline timeline_chart() {
  constexpr double kNan = std::numeric_limits<double>::quiet_NaN();
  Timeline chart{.title = "time " + kHostile,
                 .unit = "s",
                 .parts = {{"work " + kHostile, 0}, {"more", 5}},
                 .rows = {}};
  chart.rows.push_back(
      {"rank 0 " + kHostile,
       {{0, 4, 0, "W0", "tip " + kHostile}, {4, 6, 1, "M0"}, {19.99, 20, 0, "no room"}}});
  chart.rows.push_back(
      {"rank 1", {{2, 2, 0}, {-1, 3, 0}, {3, kNan, 0}, {5, 10, 1, "M1"}, {10, 5, 0}}});
  chart.rows.push_back({"rank 2", {}});
  return chart;
}

}  // namespace

int main(int argc, char** argv) try {
  if (argc != 2) return 64;
  const std::string folder = argv[1];
  write_svg(folder + "/loss.svg", loss_chart().svg());
  write_svg(folder + "/known.svg", known_chart().svg());
  write_svg(folder + "/runs.svg", runs_chart().svg());
  write_svg(folder + "/memory.svg", memory_chart().svg());
  write_svg(folder + "/timeline.svg", timeline_chart().svg());
  write_svg(folder + "/no-time.svg", Timeline{kHostile, "s", {}, {{"rank", {}}}}.svg());
  write_svg(folder + "/empty.svg",
            XyChart{.title = kHostile, .x = {}, .y = {}, .series = {}}.svg());
  return 0;
} catch (const std::exception& error) {
  std::fprintf(stderr, "%s\n", error.what());
  return 70;
}
