#include "commands/bench_scaling_output.hpp"

#include <fmt/core.h>

#include <algorithm>
#include <cmath>

#include "commands/plan_output.hpp"

namespace espalier::commands {
namespace {

using bench::ScalingPoint;
using report::Cell;

/// For what may not be known.
Cell known(double value, Cell (*cell)(double)) {
  return std::isnan(value) ? Cell(value, "") : cell(value);
}
Cell milliseconds_cell(double seconds) {
  return {seconds, in_digits(1e3 * seconds, 4)};
}

/// Of every device, the first without a number: most plans are for one.
std::string numbered(const char* key, std::size_t device) {
  return device == 0 ? key : fmt::format("{}_{}", key, device + 1);
}

/// The fewest ranks that the device can be planned for.
const ScalingPoint& fewest_planned(std::span<const ScalingPoint> points, std::size_t device) {
  const auto found = std::find_if(points.begin(), points.end(), [&](const ScalingPoint& p) {
    return !std::isnan(p.planned_s[device]);
  });
  return found == points.end() ? points.front() : *found;
}

}  // namespace

report::Table scaling_table(std::span<const ScalingPoint> points,
                            const std::vector<std::string>& devices) {
  std::vector<report::Column> columns = {{"ranks", "ranks"},
                                         {"nodes", "nodes"},
                                         {"global_batch_size", "batch"},
                                         {"tokens_per_second", "tokens/s"},
                                         {"tokens_per_second_per_rank", "tokens/s per rank"},
                                         {"efficiency", "efficiency, %"},
                                         {"communication_share", "waits for ranks, %"},
                                         {"step_seconds", "step, ms"},
                                         {"step_seconds_min", "least, ms"},
                                         {"step_seconds_max", "most, ms"}};
  for (std::size_t i = 0; i < devices.size(); ++i) {
    const std::string of = devices.size() == 1 ? "" : fmt::format(" ({})", devices[i]);
    columns.push_back({numbered("planned_step_seconds", i), "planned step, ms" + of});
    columns.push_back({numbered("planned_efficiency", i), "planned efficiency, %" + of});
  }
  report::Table table(columns);
  const ScalingPoint& fewest = points.front();
  for (const ScalingPoint& p : points) {
    std::vector<Cell> row = {
        count_cell(p.ranks),
        p.nodes > 0 ? count_cell(p.nodes) : Cell(std::nan(""), ""),
        count_cell(static_cast<double>(p.global_batch_size)),
        known(p.tokens_per_second(), count_cell),
        known(p.tokens_per_second() / p.ranks, count_cell),
        known(bench::efficiency(p, p.step_s, fewest, fewest.step_s), percent_cell),
        known(p.communication, percent_cell),
        known(p.step_s, milliseconds_cell),
        known(p.least_s, milliseconds_cell),
        known(p.most_s, milliseconds_cell)};
    for (std::size_t i = 0; i < devices.size(); ++i) {
      const ScalingPoint& planned = fewest_planned(points, i);
      row.push_back(known(p.planned_s[i], milliseconds_cell));
      row.push_back(
          known(bench::efficiency(p, p.planned_s[i], planned, planned.planned_s[i]), percent_cell));
    }
    table.add(std::move(row));
  }
  return table;
}

report::XyChart scaling_chart(std::span<const ScalingPoint> points,
                              const std::vector<std::string>& devices, const std::string& title) {
  report::Series measured{.name = "measured", .points = {}, .marked = true};
  report::Series spread{.name = "least and most", .points = {}};
  report::Series ideal{.name = "ideal", .points = {}, .dashed = true};
  const ScalingPoint& fewest = points.front();
  for (const ScalingPoint& p : points) {
    const double ranks = p.ranks;
    measured.points.push_back({.x = ranks, .y = p.tokens_per_second()});
    // Nothing stands at nan, which divides the line.
    for (const double seconds : {p.most_s, p.least_s, std::nan("")})
      spread.points.push_back({.x = ranks, .y = p.tokens / seconds});
    ideal.points.push_back({.x = ranks, .y = fewest.tokens_per_second() * ranks / fewest.ranks});
  }
  report::XyChart chart{.title = title,
                        .x = {.title = "ranks", .logarithmic = true, .powers_of_two = true},
                        .y = {.title = "tokens/s", .logarithmic = true},
                        .series = {std::move(spread), std::move(measured)}};
  for (std::size_t i = 0; i < devices.size(); ++i) {
    report::Series planned{.name = devices.size() == 1 ? "planned" : "planned, " + devices[i],
                           .points = {},
                           .dashed = true,
                           .marked = true};
    for (const ScalingPoint& p : points)
      planned.points.push_back({.x = static_cast<double>(p.ranks), .y = p.tokens / p.planned_s[i]});
    chart.series.push_back(std::move(planned));
  }
  chart.series.push_back(std::move(ideal));
  return chart;
}

}  // namespace espalier::commands
