// espalier plan time: a step and a run as the input lays it out, and where the time goes.
#include <fmt/core.h>

#include <algorithm>

#include "base/integers.hpp"
#include "base/log.hpp"
#include "base/text.hpp"
#include "commands/commands.hpp"
#include "commands/plan_output.hpp"
#include "parallel/comm/on_rank_0.hpp"
#include "plan/estimate/layout_memory.hpp"
#include "plan/time/pipeline_time.hpp"

namespace espalier::commands {
namespace {

using config::HardwareParameters;
using config::Parameters;
using report::Cell;
using report::Table;

Table summary(const std::vector<NamedEstimate>& estimates) {
  std::vector<report::Column> columns = {{"device", ""}, {"ranks", "devices"}};
  for (report::Column& column : estimate_columns()) columns.push_back(std::move(column));
  Table table(std::move(columns));
  for (const NamedEstimate& named : estimates) {
    std::vector<Cell> row = {named.name, count_cell(static_cast<double>(named.estimate.ranks))};
    for (Cell& cell : estimate_cells(named.estimate)) row.push_back(std::move(cell));
    table.add(std::move(row));
  }
  return table;
}

/// What the operators of a step take at least: FLOPs at the data sheet's peak, or bytes at its
/// memory's rate, whichever is longer.
std::string largest_operators(const Parameters& p, const HardwareParameters& hardware,
                              const plan::Estimate& estimate, report::Format format) {
  const plan::StepCounts counts = plan::count_step_for(p, hardware);
  const bool bf16 = p.training.dtype == "bfloat16";
  const auto first_known = [](double a, double b) { return a > 0.0 ? a : b; };
  const double flops_rate =
      1e12 * (bf16 ? first_known(hardware.peak_bf16_tflops, hardware.product_bf16_tflops)
                   : first_known(hardware.peak_fp32_tflops, hardware.product_fp32_tflops));
  const double bytes_rate = 1e9 * first_known(hardware.memory_gbs, hardware.copy_gbs);
  struct Row {
    std::string name;
    device::PhaseCost cost;
    double floor;
  };
  std::vector<Row> rows;
  for (const auto& [operation, cost] : counts.operations) {
    std::string name(operation.name);
    if (operation.m > 0)
      name += fmt::format(" ({}, {}) ({}, {})", operation.m, operation.k, operation.k, operation.n);
    rows.push_back({std::move(name), cost,
                    std::max(flops_rate > 0.0 ? cost.flops / flops_rate : 0.0,
                             bytes_rate > 0.0 ? cost.bytes / bytes_rate : 0.0)});
  }
  std::stable_sort(rows.begin(), rows.end(),
                   [](const Row& a, const Row& b) { return a.floor > b.floor; });
  Table table({{"operator", "operator"},
               {"calls", "calls"},
               {"gflop", "GFLOP"},
               {"gb", "GB"},
               {"floor_ms", "floor, ms"},
               {"share", "of the step, %"}});
  const auto limit = static_cast<std::size_t>(p.plan.rows);
  for (std::size_t i = 0; i < rows.size() && (limit == 0 || i < limit); ++i)
    table.add({rows[i].name, count_cell(static_cast<double>(rows[i].cost.calls)),
               count_cell(rows[i].cost.flops * 1e-9),
               Cell(rows[i].cost.bytes * 1e-9, fmt::format("{:.4g}", rows[i].cost.bytes * 1e-9)),
               Cell(rows[i].floor * 1e3, fmt::format("{:.4g}", rows[i].floor * 1e3)),
               percent_cell(rows[i].floor / estimate.step())});
  return table.print(format);
}

/// What stages wait for each other, and for how long.
std::string pipeline_lines(const Parameters& p, const HardwareParameters& hardware) {
  if (p.parallel.pipeline == 1) return {};
  const plan::PipelineTime time = plan::pipeline_time(p, hardware);
  return fmt::format(
      "{} over {} stages on {} ranks: the passes of {} micro-batches take {} s;\n"
      "{:.1f} % of the ranks' time is bubble, and a message takes {} s (`espalier plan schedule` "
      "draws it)\n\n",
      p.parallel.schedule, time.schedule.placement.num_stages(), p.parallel.pipeline,
      time.schedule.micro_batches, in_digits(time.passes, 4), 100.0 * time.bubble,
      in_digits(time.durations.message, 3));
}

std::string planned(Parameters p) {
  const report::Format format = report::format_from_name(p.plan.format);
  config::resolve(p, p.plan.ranks > 0 ? narrow<int>(p.plan.ranks) : config::declared_ranks(p),
                  config::Use::planning);
  const std::vector<HardwareParameters> devices = plan::hardware_of(p);
  std::vector<NamedEstimate> estimates;
  for (const HardwareParameters& hardware : devices)
    estimates.push_back({hardware.name, plan::estimate(p, hardware)});
  if (!p.plan.plot.empty())
    report::write_svg(
        p.plan.plot,
        time_chart(fmt::format("A step, {}", plan::describe_layout(p)), estimates).svg());
  const Table table = summary(estimates);
  if (format == report::Format::csv || format == report::Format::json) return table.print(format);
  std::string text = fmt::format("{}\n{}\n\n{}", describe_run(p), plan::describe_layout(p),
                                 table.print_transposed(format));
  for (std::size_t i = 0; i < devices.size(); ++i) {
    const plan::Estimate& e = estimates[i].estimate;
    text +=
        fmt::format("\n{}: where a step of {} s goes\n\n", devices[i].name, in_digits(e.step(), 4));
    if (format == report::Format::text) text += time_bar(e) + describe_doubts(p, devices[i]) + "\n";
    const Parameters chosen = plan::chosen_for(p, devices[i]);
    text += pipeline_lines(chosen, devices[i]);
    text += largest_operators(chosen, devices[i], e, format);
    if (!e.fits)
      text += fmt::format(
          "\nit does not fit: a rank needs {} of {:.4g} GiB (`espalier plan memory` says what "
          "would help,\n`espalier plan grid` which layouts fit)\n",
          in_gib(e.memory_bytes), devices[i].memory_gib);
    if (const std::string hours = describe_hours(p, e); !hours.empty()) text += "\n" + hours + "\n";
  }
  return text;
}

}  // namespace

ExitStatus plan_time(parallel::MpiSession& session, config::Parameters& parameters, bool) {
  std::string text = parallel::on_rank_0(session, [&] { return planned(parameters); });
  text.erase(text.find_last_not_of('\n') + 1);
  log::line(text);
  return ExitStatus::ok;
}

}  // namespace espalier::commands
