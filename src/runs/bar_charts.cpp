#include <fmt/format.h>

#include <algorithm>
#include <exception>
#include <map>

#include "base/integers.hpp"
#include "plan/memory_fit.hpp"
#include "plan/memory_purposes.hpp"
#include "plan/recompute_budget.hpp"
#include "report/chart.hpp"
#include "runs/page.hpp"

namespace espalier::runs {
namespace {

/// Rows with the same parts; where there are more parts than colours, the small ones are one.
struct Bars {
  std::vector<std::string> rows;
  std::vector<std::map<std::string, double>> amounts;
};

constexpr std::size_t kMostParts = 8;

report::StackedBars chart_of(const Bars& bars, const std::string& title, const std::string& unit) {
  std::map<std::string, double> largest;
  for (const auto& row : bars.amounts)
    for (const auto& [part, amount] : row) largest[part] = std::max(largest[part], amount);
  std::vector<std::string> parts;
  for (const auto& [part, amount] : largest)
    if (amount > 0.0) parts.push_back(part);
  std::stable_sort(parts.begin(), parts.end(), [&](const std::string& a, const std::string& b) {
    return largest[a] > largest[b];
  });
  const bool has_rest = parts.size() > kMostParts;
  if (has_rest) parts.resize(kMostParts - 1);
  report::StackedBars chart{.title = title, .unit = unit, .parts = parts, .rows = {}};
  if (has_rest) chart.parts.emplace_back("all others");
  for (std::size_t r = 0; r < bars.rows.size(); ++r) {
    report::StackedBars::Row row{bars.rows[r], {}};
    double rest = 0.0;
    for (const auto& [part, amount] : bars.amounts[r])
      if (std::find(parts.begin(), parts.end(), part) == parts.end()) rest += amount;
    for (const std::string& part : parts) {
      const auto it = bars.amounts[r].find(part);
      row.amounts.push_back(it == bars.amounts[r].end() ? 0.0 : it->second);
    }
    if (has_rest) row.amounts.push_back(rest);
    chart.rows.push_back(std::move(row));
  }
  return chart;
}

constexpr std::size_t kMostJobs = 12;

}  // namespace

std::vector<NamedChart> time_charts(const std::vector<Run>& runs) {
  struct Row {
    std::string name;
    TimeAccount time;
  };
  std::vector<Row> rows;
  double longest = 0.0;
  for (const Run& run : runs) {
    if (run.jobs.empty()) continue;
    rows.push_back({runs.size() == 1 && run.jobs.size() > 1 ? "all jobs" : run.name, run.time});
    longest = std::max(longest, run.time.wall_s);
  }
  if (rows.empty()) return {};
  if (runs.size() == 1 && runs.front().jobs.size() > 1) {
    const std::vector<Job>& jobs = runs.front().jobs;
    const std::size_t first = jobs.size() > kMostJobs ? jobs.size() - kMostJobs : 0;
    for (std::size_t i = first; i < jobs.size(); ++i)
      rows.push_back({fmt::format("job {}", jobs[i].number), jobs[i].time});
  }
  const std::string unit = longest >= 7200.0 ? "h" : longest >= 120.0 ? "min" : "s";
  const double per_unit = unit == "h" ? 3600.0 : unit == "min" ? 60.0 : 1.0;
  report::StackedBars chart{
      .title = "Wall time, from the first job's start", .unit = unit, .parts = {}, .rows = {}};
  // A fixed order, so that pages can be compared; what nobody spent is left out.
  for (std::size_t part = 0; part < parts_of({}).size(); ++part) {
    const bool any = std::any_of(rows.begin(), rows.end(), [&](const Row& row) {
      return parts_of(row.time)[part].seconds > 0.0;
    });
    if (any) chart.parts.push_back(parts_of({})[part].name);
  }
  for (const Row& row : rows) {
    report::StackedBars::Row bar{row.name, {}};
    for (const TimePart& part : parts_of(row.time))
      if (std::find(chart.parts.begin(), chart.parts.end(), part.name) != chart.parts.end())
        bar.amounts.push_back(part.seconds / per_unit);
    chart.rows.push_back(std::move(bar));
  }
  return {{"wall-time", chart.svg()}};
}

std::vector<NamedChart> phase_charts(const std::vector<Run>& runs) {
  Bars bars;
  for (const Run& run : runs) {
    if (!run.report || run.report->last_step <= run.report->first_step) continue;
    const auto steps = static_cast<double>(run.report->last_step - run.report->first_step);
    bars.rows.push_back(run.name);
    bars.amounts.emplace_back();
    for (const PhaseTime& phase : run.report->phases)
      bars.amounts.back()[phase.name] += 1e3 * phase.mean_s / steps;
  }
  if (bars.rows.empty()) return {};
  return {{"phases", chart_of(bars, "A step of the newest job, mean of its ranks",
                              "ms per step, with its share of validations and checkpoints")
                         .svg()}};
}

std::vector<NamedChart> memory_charts(const std::vector<Run>& runs) {
  Bars bars;
  double largest = 0.0;
  for (const Run& run : runs) {
    if (!run.input) continue;
    try {
      const config::ParallelParameters& parallel = run.input->parallel;
      const espalier::parallel::GridShape shape{.tensor = narrow<int>(parallel.tensor),
                                                .context = narrow<int>(parallel.context),
                                                .data = narrow<int>(parallel.data),
                                                .pipeline = narrow<int>(parallel.pipeline)};
      std::string device = run.input->device.backend;
      for (const io::Event& event : run.events)
        if (event.kind == "start" && !event.text("device").empty()) device = event.text("device");
      const plan::Room room = plan::room_of(
          run.input->device, device == "cuda" ? device::Backend::cuda : device::Backend::host);
      const config::Parameters chosen = plan::with_recompute_chosen(*run.input, shape, room);
      const espalier::parallel::ProcessGrid grid(shape, plan::largest_rank(chosen, shape, room));
      bars.rows.push_back(run.name);
      bars.amounts.emplace_back();
      double sum = 0.0;
      for (const plan::MemoryPurpose& purpose : plan::memory_purposes(chosen, grid, room)) {
        if (purpose.kind == plan::MemoryPurpose::Kind::beside) continue;
        bars.amounts.back()[purpose.name] += static_cast<double>(purpose.bytes);
        sum += static_cast<double>(purpose.bytes);
      }
      largest = std::max(largest, sum);
    } catch (const std::exception&) {  // an input of another version may have no plan in this one
      continue;
    }
  }
  if (bars.rows.empty()) return {};
  bars.rows.resize(bars.amounts.size());
  constexpr double kMiB = 1024.0 * 1024.0;
  const double unit = largest >= 1024.0 * kMiB ? 1024.0 * kMiB : kMiB;
  for (auto& row : bars.amounts)
    for (auto& [part, amount] : row) amount /= unit;
  return {{"memory", chart_of(bars, "Planned memory of the rank that needs most",
                              unit == kMiB ? "MiB" : "GiB")
                         .svg()}};
}

}  // namespace espalier::runs
