// espalier plan grid: every layout of a run on a number of devices, the fastest first.
#include <fmt/core.h>

#include <algorithm>

#include "base/log.hpp"
#include "base/text.hpp"
#include "commands/commands.hpp"
#include "commands/plan_output.hpp"
#include "config/grid.hpp"
#include "io/output_file.hpp"
#include "parallel/comm/on_rank_0.hpp"
#include "plan/estimate/run_input.hpp"

namespace espalier::commands {
namespace {

using config::HardwareParameters;
using config::Parameters;
using plan::Layout;
using report::Cell;
using report::Table;

std::int64_t num_micro_batches(const Parameters& p) {
  return p.training.global_batch_size / p.parallel.data / p.training.micro_batch_size;
}

/// plan::short_grid, with a star where sequence parallelism is not legal.
std::string grid_of(const Parameters& p) {
  const bool split = p.parallel.tensor == 1 || p.parallel.sequence_parallel;
  return plan::short_grid(p) + (split ? "" : "*");
}

/// "zb1p 2": with the chunks of a rank where there are several; empty without a pipeline.
std::string schedule_of(const Parameters& p) {
  if (p.parallel.pipeline == 1) return {};
  const int chunks = config::num_chunks(p.parallel);
  return chunks > 1 ? fmt::format("{} {}", p.parallel.schedule, chunks) : p.parallel.schedule;
}

std::string grid_and_schedule(const Parameters& p) {
  const std::string schedule = schedule_of(p);
  return grid_of(p) + (schedule.empty() ? "" : ", " + schedule);
}

std::int64_t num_fitting(const std::vector<Layout>& all) {
  return std::count_if(all.begin(), all.end(), [](const Layout& l) { return l.estimate.fits; });
}

/// The layouts on one kind of device, and how many of them are shown.
struct Shown {
  const Parameters& asked;
  const HardwareParameters& hardware;
  const std::vector<Layout>& all;
  std::size_t rows;
  /// Whether one of the layouts that are shown is so.
  bool any(auto is_so) const {
    return std::any_of(all.begin(), all.begin() + static_cast<std::ptrdiff_t>(rows),
                       [&](const Layout& layout) { return is_so(layout.parameters.parallel); });
  }
};

/// For programs: a row for each layout with everything.
Table wide_table() {
  std::vector<report::Column> columns = {{"number", ""},
                                         {"device", ""},
                                         {"ranks", ""},
                                         {"tensor", ""},
                                         {"context", ""},
                                         {"data", ""},
                                         {"pipeline", ""},
                                         {"expert", ""},
                                         {"schedule", ""},
                                         {"chunks", ""},
                                         {"sequence_parallel", ""},
                                         {"micro_batch_size", ""},
                                         {"micro_batches", ""},
                                         {"recompute", ""},
                                         {"zero_stage", ""}};
  for (report::Column& column : estimate_columns()) columns.push_back(std::move(column));
  columns.push_back({"why_slower", ""});
  return Table(std::move(columns));
}

void add_wide_rows(Table& table, const Shown& shown) {
  const auto integer = [](std::int64_t n) {
    return Cell(static_cast<double>(n), std::to_string(n));
  };
  for (std::size_t i = 0; i < shown.rows; ++i) {
    const Layout& layout = shown.all[i];
    const Parameters& p = layout.parameters;
    std::vector<Cell> row = {integer(static_cast<std::int64_t>(i) + 1),
                             shown.hardware.name,
                             integer(layout.estimate.ranks),
                             integer(p.parallel.tensor),
                             integer(p.parallel.context),
                             integer(p.parallel.data),
                             integer(p.parallel.pipeline),
                             integer(p.parallel.expert),
                             p.parallel.pipeline > 1 ? p.parallel.schedule : "",
                             integer(p.parallel.pipeline > 1 ? config::num_chunks(p.parallel) : 1),
                             p.parallel.sequence_parallel ? "yes" : "no",
                             integer(p.training.micro_batch_size),
                             integer(num_micro_batches(p)),
                             p.memory.recompute,
                             integer(p.parallel.zero_stage)};
    for (Cell& cell : estimate_cells(layout.estimate)) row.push_back(std::move(cell));
    row.emplace_back(layout.estimate.fits ? plan::why_slower(shown.all.front(), layout) : "memory");
    table.add(std::move(row));
  }
}

std::string results(const Shown& shown, report::Format format) {
  const bool has_pipeline =
      shown.any([](const config::ParallelParameters& g) { return g.pipeline > 1; });
  // In text, the room of a column that says the same of all.
  const bool has_stages = !has_pipeline || shown.any([](const config::ParallelParameters& g) {
    return g.zero_stage != 1;
  });
  std::vector<report::Column> columns = {{"number", "#"}, {"grid", "grid"}};
  if (has_pipeline) columns.push_back({"schedule", "schedule"});
  columns.insert(columns.end(), {{"micro_batch_size", "micro"}, {"recompute", "recompute"}});
  if (has_stages) columns.push_back({"zero_stage", "ZeRO"});
  columns.insert(columns.end(), {{"memory_gib", "GiB"},
                                 {"step_seconds", "step, s"},
                                 {"tokens_per_second", "tokens/s"},
                                 {"mfu_causal", "MFU %"},
                                 {"mfu_full", "full %"},
                                 {"hours", "hours"}});
  // A line has no room for it beside the schedules.
  if (!has_pipeline) columns.push_back({"device_hours", "device-h"});
  Table table(std::move(columns));
  for (std::size_t i = 0; i < shown.rows; ++i) {
    const plan::Estimate& e = shown.all[i].estimate;
    const Parameters& p = shown.all[i].parameters;
    std::vector<Cell> row{Cell(static_cast<double>(i + 1), std::to_string(i + 1)), grid_of(p)};
    if (has_pipeline) row.emplace_back(schedule_of(p));
    row.push_back(count_cell(static_cast<double>(p.training.micro_batch_size)));
    row.emplace_back(p.memory.recompute);
    if (has_stages) row.push_back(count_cell(static_cast<double>(p.parallel.zero_stage)));
    row.insert(row.end(),
               {Cell(static_cast<double>(e.memory_bytes), in_gib(e.memory_bytes)),
                seconds_cell(e.step()), count_cell(e.tokens_per_second), percent_cell(e.mfu_causal),
                percent_cell(e.mfu_full), hours_cell(e.hours)});
    if (!has_pipeline) row.push_back(hours_cell(e.device_hours()));
    table.add(std::move(row));
  }
  return table.print(format);
}

std::string shares(const Shown& shown, report::Format format) {
  struct Share {
    report::Column column;
    double (*seconds)(const plan::Estimate& e);
    bool always = true;  ///< else where a layout spends some time on it
  };
  const std::vector<Share> all = {
      {{"products", "products"}, [](const plan::Estimate& e) { return e.time.products; }},
      {{"attention", "attention"}, [](const plan::Estimate& e) { return e.time.attention; }},
      {{"memory_bound", "memory"}, [](const plan::Estimate& e) { return e.time.memory_bound; }},
      {{"tensor_exposed", "tensor"}, [](const plan::Estimate& e) { return e.time.tensor_exposed; }},
      {{"context_exposed", "context"},
       [](const plan::Estimate& e) { return e.time.context_exposed; },
       false},
      {{"expert_exposed", "expert"},
       [](const plan::Estimate& e) { return e.time.expert_exposed; },
       false},
      {{"data_exposed", "data"}, [](const plan::Estimate& e) { return e.time.data_exposed; }},
      {{"bubble", "bubble"}, [](const plan::Estimate& e) { return e.time.bubble; }, false},
      {{"other", "other"}, [](const plan::Estimate& e) { return e.time.other; }},
      {{"input", "input"}, [](const plan::Estimate& e) { return e.input; }},
      {{"checkpoint", "saving"},
       [](const plan::Estimate& e) { return e.checkpoint_share * e.step(); }},
      {{"tensor_hidden", "(tensor"}, [](const plan::Estimate& e) { return e.time.tensor_hidden; }},
      {{"data_hidden", "data hidden)"},
       [](const plan::Estimate& e) { return e.time.data_hidden; }}};
  std::vector<Share> shares;
  for (const Share& share : all)
    if (share.always ||
        std::any_of(shown.all.begin(), shown.all.begin() + static_cast<std::ptrdiff_t>(shown.rows),
                    [&](const Layout& layout) { return share.seconds(layout.estimate) > 0.0; }))
      shares.push_back(share);
  std::vector<report::Column> columns{{"number", "#"}};
  for (const Share& share : shares) columns.push_back(share.column);
  Table table(std::move(columns));
  for (std::size_t i = 0; i < shown.rows; ++i) {
    const plan::Estimate& e = shown.all[i].estimate;
    std::vector<Cell> row{Cell(static_cast<double>(i + 1), std::to_string(i + 1))};
    for (const Share& share : shares) row.push_back(percent_cell(share.seconds(e) / e.step()));
    table.add(std::move(row));
  }
  return table.print(format);
}

std::string reasons(const Shown& shown, report::Format format) {
  Table table({{"number", "#"}, {"slower", "slower by"}, {"why", "because of"}});
  const double best = shown.all.front().estimate.step();
  for (std::size_t i = 1; i < shown.rows; ++i) {
    const double longer = shown.all[i].estimate.step() / best - 1.0;
    std::string why = plan::why_slower(shown.all.front(), shown.all[i]);
    table.add({Cell(static_cast<double>(i + 1), std::to_string(i + 1)),
               Cell(longer, fmt::format("{:.1f} %", 100.0 * longer)),
               why.empty() ? "nothing: it needs more memory" : why});
  }
  return table.num_rows() > 0 ? table.print(format) : "";
}

/// plan::describe_layout in lines of at most a hundred columns.
std::string in_lines(std::string text) {
  constexpr std::size_t kColumns = 100;
  if (text.size() <= kColumns) return text;
  const std::size_t comma = text.rfind(", ", kColumns - 1);
  if (comma != std::string::npos) text[comma + 1] = '\n';
  return text;
}

/// How many do not fit, and the one that nearly does.
std::string misses(const Shown& shown) {
  const std::int64_t fitting = num_fitting(shown.all);
  if (fitting == std::ssize(shown.all)) return {};
  const Layout& nearest = shown.all[static_cast<std::size_t>(fitting)];
  const double missing = static_cast<double>(nearest.estimate.memory_bytes) -
                         shown.hardware.memory_gib * static_cast<double>(1 << 30);
  return fmt::format("{} layouts do not fit; the nearest needs {} GiB, {} too much:\n{}\n",
                     with_commas(std::ssize(shown.all) - fitting),
                     in_gib(nearest.estimate.memory_bytes), human_bytes(missing),
                     in_lines(plan::describe_layout(nearest.parameters)));
}

/// What stands in the columns of grids and schedules, up to what comes behind it.
std::string legend_of(const Shown& shown) {
  const bool has_pipeline =
      shown.any([](const config::ParallelParameters& g) { return g.pipeline > 1; });
  std::string text =
      has_pipeline ? "grid: tensor x data x pipeline ranks" : "grid: tensor x data ranks";
  if (shown.any([](const config::ParallelParameters& g) { return g.context > 1; }))
    text += ", c: context ranks";
  if (shown.any([](const config::ParallelParameters& g) { return g.expert > 1; }))
    text += ", e: expert ranks";
  if (has_pipeline) {
    text += plan::leaves_schedule_open(shown.asked)
                ? ";\nschedule of a pipeline, with the chunks of a rank: the fastest that fits;\n"
                : ";\nschedule of a pipeline: the one that is asked for, else 1f1b;\n";
    return text;
  }
  return text + "; ";
}

/// "33.3 of 178.3 GiB of a device are left", in a line of its own.
std::string headroom_of(const plan::Estimate& e, const HardwareParameters& hardware) {
  if (hardware.memory_gib <= 0.0) return {};
  return fmt::format("\n{:.1f} of {:.1f} GiB of a device are left",
                     hardware.memory_gib - static_cast<double>(e.memory_bytes) / (1 << 30),
                     hardware.memory_gib);
}

std::string for_people(const Shown& shown, report::Format format) {
  const Layout& best = shown.all.front();
  std::string text = fmt::format(
      "{}\n\non {}: {} layouts fit, the fastest first\n"
      "({}full: MFU with attention counted whole)\n\n",
      describe_run(best.parameters), describe_devices(best.estimate.ranks, shown.hardware),
      with_commas(num_fitting(shown.all)), legend_of(shown));
  text += results(shown, format);
  for (std::size_t i = 0; i < shown.rows; ++i)
    if (grid_of(shown.all[i].parameters).ends_with("*")) {
      text += "*: without sequence parallelism, which is not legal there\n";
      break;
    }
  text += "\nwhere the time of a step goes, %\n\n" + shares(shown, format);
  if (const std::string why = reasons(shown, format); !why.empty())
    text += "\nbehind the first, in % of its step\n\n" + why;
  if (const std::string why = misses(shown); !why.empty()) text += "\n" + why;
  if (format == report::Format::text)
    text +=
        fmt::format("\nthe first:\n{}{}\n\n{}", in_lines(plan::describe_layout(best.parameters)),
                    headroom_of(best.estimate, shown.hardware), time_bar(best.estimate)) +
        describe_doubts(best.parameters, shown.hardware);
  if (const std::string hours = describe_hours(best.parameters, best.estimate); !hours.empty())
    text += "\n" + hours + "\n";
  return text;
}

std::string planned(const Parameters& parameters) {
  const report::Format format = report::format_from_name(parameters.plan.format);
  const bool is_for_people = report::is_for_people(format);
  const std::int64_t ranks =
      parameters.plan.ranks > 0 ? parameters.plan.ranks : config::declared_ranks(parameters);
  Table wide = wide_table();
  std::string text;
  std::vector<NamedEstimate> bars;
  std::vector<std::pair<Layout, HardwareParameters>> to_write;
  for (const HardwareParameters& hardware : plan::hardware_of(parameters)) {
    const std::vector<Layout> all = plan::layouts(parameters, hardware, ranks);
    if (!all.front().estimate.fits)
      fail(ExitStatus::bad_configuration, "{}", plan::why_none_fits(parameters, hardware, all));
    const auto limit = static_cast<std::size_t>(parameters.plan.rows);
    // All rows are those that do not fit, too, where a program reads them.
    const std::size_t there =
        is_for_people ? static_cast<std::size_t>(num_fitting(all)) : all.size();
    const Shown shown{parameters, hardware, all, limit == 0 ? there : std::min(there, limit)};
    if (is_for_people)
      text += (text.empty() ? "" : "\n\n") + for_people(shown, format);
    else
      add_wide_rows(wide, shown);
    for (std::size_t i = 0; i < shown.rows && all[i].estimate.fits; ++i)
      bars.push_back(
          {fmt::format("{}: {}, micro-batch {}, {}, ZeRO-{}", hardware.name,
                       grid_and_schedule(all[i].parameters),
                       all[i].parameters.training.micro_batch_size,
                       all[i].parameters.memory.recompute, all[i].parameters.parallel.zero_stage),
           all[i].estimate});
    if (parameters.plan.write.empty()) continue;
    const std::int64_t row = parameters.plan.write_row;
    require(row <= num_fitting(all), ExitStatus::bad_configuration,
            "plan.write_row = {}: {} layouts fit on {} x {}; name one of these rows", row,
            num_fitting(all), ranks, hardware.name);
    to_write.emplace_back(all[static_cast<std::size_t>(row) - 1], hardware);
  }
  // Nothing is written before all of it is known to be new.
  if (!parameters.plan.plot.empty()) io::require_new_output(parameters.plan.plot, "plan.plot");
  for (const auto& [layout, hardware] : to_write)
    plan::require_new_run_input(parameters.plan.write, layout, hardware);
  if (!parameters.plan.plot.empty())
    report::write_svg(parameters.plan.plot,
                      time_chart(fmt::format("A step on {} devices", ranks), bars).svg());
  for (const auto& [layout, hardware] : to_write) {
    const std::string path = plan::write_run_input(parameters.plan.write, layout, hardware);
    if (is_for_people) text += fmt::format("\nwritten: {}\n", path);
  }
  return is_for_people ? text : wide.print(format);
}

}  // namespace

ExitStatus plan_grid(parallel::MpiSession& session, config::Parameters& parameters, bool) {
  std::string text = parallel::on_rank_0(session, [&] { return planned(parameters); });
  text.erase(text.find_last_not_of('\n') + 1);
  log::line(text);
  return ExitStatus::ok;
}

}  // namespace espalier::commands
