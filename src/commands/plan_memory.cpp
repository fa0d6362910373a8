// espalier plan memory: what a rank needs, for what, and what to change where it does not fit.
#include <algorithm>
#include <limits>
#include <optional>

#include "base/integers.hpp"
#include "base/log.hpp"
#include "base/text.hpp"
#include "commands/commands.hpp"
#include "plan/estimate/planned_input.hpp"
#include "plan/memory_purposes.hpp"
#include "plan/recompute_budget.hpp"
#include "plan/time/step_time.hpp"
#include "report/chart.hpp"
#include "report/table.hpp"
#include "train/device_choice.hpp"

namespace espalier::commands {
namespace {

using plan::MemoryPurpose;
using report::Cell;
using report::Format;
using report::Table;

/// A run on one kind of device.
struct Plan {
  std::string device;                    ///< its name; empty: none is named
  plan::Room room;                       ///< what is free is infinite where no memory is known
  config::Parameters asked, parameters;  ///< resolved; with the mix that a budget chooses
  parallel::GridShape shape;
  int largest = 0, smallest = 0;                                        ///< ranks
  std::int64_t needed_bytes = 0;                                        ///< of the largest
  std::int64_t least_bytes = std::numeric_limits<std::int64_t>::max();  ///< of the smallest
  bool has_room() const { return room.free_bytes < std::numeric_limits<std::int64_t>::max(); }
  bool are_alike() const { return needed_bytes == least_bytes; }
  bool fits() const { return needed_bytes <= room.free_bytes; }
};

std::string human(std::int64_t bytes) {
  return human_bytes(static_cast<double>(bytes));
}

Cell bytes_cell(std::int64_t bytes) {
  return {static_cast<double>(bytes), human(bytes)};
}

int ranks_of(const config::Parameters& p) {
  return p.plan.ranks > 0 ? narrow<int>(p.plan.ranks) : config::declared_ranks(p);
}

/// `hardware`: of plan.device or [hardware]; null: what [device] says.
Plan make_plan(parallel::MpiSession& session, config::Parameters p,
               const config::HardwareParameters* hardware) {
  Plan plan;
  if (hardware != nullptr) {
    plan.device = hardware->name;
    p.device.memory_gib = hardware->memory_gib;
    p.device.compute_capability = hardware->compute_capability;
    p.device.backend = hardware->kind == "cpu" ? "host" : "cuda";
  } else if (p.device.backend == "auto" && p.device.compute_capability > 0) {
    p.device.backend = "cuda";
  }
  plan::drop_schedule_without_length(p);
  config::resolve(p, ranks_of(p), config::Use::bench);
  const device::Backend backend = train::choose_backend(session, p.device);
  plan.shape = {.tensor = static_cast<int>(p.parallel.tensor),
                .context = static_cast<int>(p.parallel.context),
                .data = static_cast<int>(p.parallel.data),
                .pipeline = static_cast<int>(p.parallel.pipeline)};
  plan.room = plan::room_of(p.device, backend);
  plan.room.compute_capability = plan::planned_capability(p.device, backend);
  if (p.device.memory_gib <= 0.0) {
    plan::require_budget(p);
    plan.room.free_bytes = std::numeric_limits<std::int64_t>::max();
    plan.room.whose = "no memory is named";
  } else if (hardware != nullptr) {
    plan.room.whose = fmt::format("{} has {}", plan.device, human(plan.room.free_bytes));
  }
  plan.asked = p;
  plan.parameters = plan::with_recompute_chosen(p, plan.shape, plan.room);
  for (const int rank : parallel::corner_ranks(plan.shape)) {
    const auto memory = plan::TrainingMemory::planned(plan.parameters, {plan.shape, rank}, backend,
                                                      plan.room.compute_capability);
    const std::int64_t bytes = plan::needed_bytes(plan.parameters, plan.shape, memory, plan.room);
    if (bytes > plan.needed_bytes) plan.largest = rank;
    if (bytes < plan.least_bytes) plan.smallest = rank;
    plan.needed_bytes = std::max(plan.needed_bytes, bytes);
    plan.least_bytes = std::min(plan.least_bytes, bytes);
  }
  return plan;
}

std::vector<Plan> make_plans(parallel::MpiSession& session, const config::Parameters& p) {
  std::vector<Plan> plans;
  if (p.plan.device.empty() && p.hardware.name.empty()) {
    plans.push_back(make_plan(session, p, nullptr));
    return plans;
  }
  for (const config::HardwareParameters& hardware : plan::hardware_of(p))
    plans.push_back(make_plan(session, p, &hardware));
  return plans;
}

std::vector<plan::Alternative> remedies_of(const Plan& plan) {
  if (plan.fits()) return {};
  return plan::alternatives(plan.asked, {plan.shape, plan.largest}, plan.room);
}

/// "20 blocks none, 8 mlp"
std::string mix_of(const config::Parameters& p) {
  model::BlocksOfModes blocks{};
  std::copy_n(p.memory.recompute_blocks.begin(), blocks.size(), blocks.begin());
  return plan::describe_blocks(blocks);
}

std::string heading(const Plan& plan) {
  const config::Parameters& p = plan.parameters;
  std::string recompute = p.memory.recompute;
  if (recompute == "budget") recompute += " (" + mix_of(p) + ")";
  return fmt::format(
      "memory of {}{}{}, ZeRO stage {}, {}\nmicro-batches of {} x {} tokens, recompute {}; {}",
      plan.shape.size() == 1
          ? "1 rank"
          : fmt::format(
                "{} ranks: tensor {}, {}data {}{}", plan.shape.size(), plan.shape.tensor,
                plan.shape.context == 1 ? std::string()
                                        : fmt::format("context {}, ", plan.shape.context),
                plan.shape.data,
                plan.shape.pipeline == 1
                    ? std::string()
                    : fmt::format(", pipeline {} ({})", plan.shape.pipeline, p.parallel.schedule)),
      p.parallel.sequence_parallel && plan.shape.tensor > 1 ? ", sequence parallel" : "",
      p.parallel.expert > 1 ? fmt::format(", experts over {} ranks", p.parallel.expert)
                            : std::string(),
      p.parallel.zero_stage, p.training.dtype, p.training.micro_batch_size,
      with_commas(p.training.sequence_length), recompute,
      plan.room.backend == device::Backend::host ? "on the host" : "on a GPU");
}

/// Purposes of the largest and of the smallest rank beside each other.
struct Row {
  MemoryPurpose largest;
  std::int64_t smallest_bytes;
};
std::vector<Row> rows_of(const Plan& plan) {
  const auto of = [&](int rank) {
    return plan::memory_purposes(plan.parameters, {plan.shape, rank}, plan.room);
  };
  const std::vector<MemoryPurpose> smallest = of(plan.smallest);
  std::vector<Row> rows;
  for (MemoryPurpose& purpose : of(plan.largest)) {
    const auto same =
        std::find_if(smallest.begin(), smallest.end(),
                     [&](const MemoryPurpose& other) { return other.name == purpose.name; });
    rows.push_back({std::move(purpose), same != smallest.end() ? same->bytes : 0});
  }
  return rows;
}

std::string_view name_of(MemoryPurpose::Kind kind) {
  switch (kind) {
    case MemoryPurpose::Kind::planned:
      return "planned";
    case MemoryPurpose::Kind::guess:
      return "guess";
    case MemoryPurpose::Kind::beside:
      break;
  }
  return "beside";
}

/// Everything in one table, for programs: purposes, their sum, the room and the remedies.
std::string machine_table(const std::vector<Plan>& plans, Format format) {
  Table table({{"device", "device"},
               {"kind", "kind"},
               {"name", "name"},
               {"largest_rank_bytes", "largest rank"},
               {"smallest_rank_bytes", "smallest rank"}});
  const Cell none(std::numeric_limits<double>::quiet_NaN(), "");
  for (const Plan& plan : plans) {
    const auto add = [&](std::string_view kind, const std::string& name, Cell largest,
                         Cell smallest) {
      table.add({plan.device, std::string(kind), name, std::move(largest), std::move(smallest)});
    };
    const std::vector<Row> rows = rows_of(plan);
    for (const Row& row : rows)
      add(name_of(row.largest.kind), row.largest.name, bytes_cell(row.largest.bytes),
          bytes_cell(row.smallest_bytes));
    add("total", "needed", bytes_cell(plan.needed_bytes), bytes_cell(plan.least_bytes));
    if (plan.has_room())
      add("room", plan.fits() ? "fits" : "does not fit", bytes_cell(plan.room.free_bytes), none);
    for (const plan::Alternative& remedy : remedies_of(plan))
      add("remedy", remedy.change, bytes_cell(remedy.total_bytes), none);
  }
  return table.print(format);
}

std::string purposes_table(const Plan& plan, const std::vector<Row>& rows, Format format) {
  const bool one = plan.are_alike();
  std::vector<report::Column> columns{
      {"purpose", "purpose"},
      {"largest", one ? "each rank" : fmt::format("rank {}, the largest", plan.largest)}};
  if (!one) columns.push_back({"smallest", fmt::format("rank {}, the smallest", plan.smallest)});
  Table table(std::move(columns));
  const auto add = [&](const std::string& name, std::int64_t largest, std::int64_t smallest) {
    std::vector<Cell> cells{name, bytes_cell(largest)};
    if (!one) cells.push_back(bytes_cell(smallest));
    table.add(std::move(cells));
  };
  for (const Row& row : rows)
    if (row.largest.kind != MemoryPurpose::Kind::beside)
      add(row.largest.name, row.largest.bytes, row.smallest_bytes);
  add("all", plan.needed_bytes, plan.least_bytes);
  return table.print(format);
}

/// What stands under the table: what does not count, what blocks keep, and whether it fits.
std::string remarks(const Plan& plan, const std::vector<Row>& rows, Format format) {
  std::string text;
  for (const Row& row : rows)
    if (row.largest.kind == MemoryPurpose::Kind::beside)
      text += fmt::format("beside it, in host memory: {}, {}\n", human(row.largest.bytes),
                          row.largest.name);
  const auto kept =
      plan::kept_bytes_per_token(plan.parameters, {plan.shape, plan.largest}, plan.room);
  text += "bytes per token that a block keeps:";
  for (std::size_t mode = 0; mode < kept.size(); ++mode)
    text += fmt::format("{} {} {}", mode == 0 ? "" : ",",
                        with_commas(static_cast<std::int64_t>(kept[mode])),
                        model::kRecomputeNames[mode]);
  text += fmt::format("; {} blocks\n", plan.parameters.model.num_hidden_layers);
  if (!plan.has_room())
    return text +
           "whether it fits: name plan.device, or device.memory_gib (and "
           "device.compute_capability)\n";
  const std::int64_t left = plan.room.free_bytes - plan.needed_bytes;
  if (plan.fits()) return text + fmt::format("fits: {}, {} left\n", plan.room.whose, human(left));
  text += fmt::format("does not fit: rank {} needs {}, but {}: {} too much\n", plan.largest,
                      human(plan.needed_bytes), plan.room.whose, human(-left));
  const std::vector<plan::Alternative> remedies = remedies_of(plan);
  if (format == Format::text)
    return text + plan::describe_alternatives(remedies, plan.needed_bytes, plan.room) + "\n";
  Table table({{"change", "what would help"}, {"then", "then"}, {"saves", "saves"}, {"fits", ""}});
  for (const plan::Alternative& a : remedies)
    table.add({a.change, bytes_cell(a.total_bytes), bytes_cell(plan.needed_bytes - a.total_bytes),
               a.total_bytes <= plan.room.free_bytes ? "fits" : ""});
  return text + "\n" + table.print(format);
}

std::string page_of(const Plan& plan, Format format) {
  const std::vector<Row> rows = rows_of(plan);
  std::string text = heading(plan) + "\n\n";
  // Of one rank the legend of the bar is the table.
  if (format != Format::text || !plan.are_alike())
    text += purposes_table(plan, rows, format) + "\n";
  if (format == Format::text) {
    std::vector<report::Part> parts;
    for (const Row& row : rows)
      if (row.largest.kind != MemoryPurpose::Kind::beside)
        parts.push_back(
            {row.largest.name, static_cast<double>(row.largest.bytes), human(row.largest.bytes)});
    if (plan.has_room() && plan.fits()) {
      const std::int64_t left = plan.room.free_bytes - plan.needed_bytes;
      parts.push_back({"free", static_cast<double>(left), human(left)});
    }
    text += fmt::format("rank {} needs {}{}\n{}\n", plan.largest, human(plan.needed_bytes),
                        plan.shape.size() == 1 ? ""
                        : plan.are_alike()     ? ", as every rank"
                                               : ", the most",
                        report::bar(parts));
  }
  return text + remarks(plan, rows, format);
}

/// One line per device.
std::string devices_table(const std::vector<Plan>& plans, Format format) {
  Table table({{"device", "device"},
               {"memory", "memory"},
               {"needed", "a rank needs"},
               {"recompute", "recompute"},
               {"fits", "fits"},
               {"remedy", "the first that would help"}});
  for (const Plan& plan : plans) {
    std::string recompute = plan.parameters.memory.recompute, remedy;
    if (recompute == "budget") recompute = mix_of(plan.parameters);
    for (const plan::Alternative& a : remedies_of(plan))
      if (remedy.empty() && a.total_bytes <= plan.room.free_bytes) remedy = a.change;
    table.add({plan.device, plan.has_room() ? bytes_cell(plan.room.free_bytes) : Cell("unknown"),
               bytes_cell(plan.needed_bytes), recompute,
               plan.has_room() ? (plan.fits() ? "yes" : "no") : "", remedy});
  }
  return table.print(format);
}

/// A bar for every mode of memory.recompute, and for the mix that a budget would choose.
report::StackedBars chart_of(const Plan& plan) {
  constexpr double kGiB = 1 << 30;
  report::StackedBars chart{.title = fmt::format("Memory of rank {}{}", plan.largest,
                                                 plan.device.empty() ? "" : " on " + plan.device),
                            .unit = "GiB",
                            .parts = {},
                            .rows = {}};
  if (plan.has_room()) {
    chart.limit = static_cast<double>(plan.room.free_bytes) / kGiB;
    chart.limit_name = plan.device.empty() ? "device.memory_gib" : plan.device;
  }
  std::vector<std::pair<std::string, std::vector<MemoryPurpose>>> bars;
  const auto add = [&](const std::string& name, const config::Parameters& p) {
    bars.emplace_back(name, plan::memory_purposes(p, {plan.shape, plan.largest}, plan.room));
  };
  config::Parameters p = plan.parameters;
  p.memory.recompute_blocks.clear();
  for (const std::string_view mode : model::kRecomputeNames) {
    p.memory.recompute = mode;
    add(std::string(mode), p);
  }
  if (plan.has_room()) {
    p.memory.recompute = "budget";
    const plan::RecomputeChoice choice = plan::choose_recompute(p, plan.shape, plan.room);
    p.memory.recompute_blocks.assign(choice.blocks.begin(), choice.blocks.end());
    if (choice.fits) add("budget: " + plan::describe_blocks(choice.blocks), p);
  }
  for (const auto& [name, purposes] : bars)
    for (const MemoryPurpose& purpose : purposes)
      if (purpose.kind != MemoryPurpose::Kind::beside &&
          std::find(chart.parts.begin(), chart.parts.end(), purpose.name) == chart.parts.end())
        chart.parts.push_back(purpose.name);
  for (const auto& [name, purposes] : bars) {
    report::StackedBars::Row row{name, std::vector<double>(chart.parts.size(), 0.0)};
    for (const MemoryPurpose& purpose : purposes)
      for (std::size_t i = 0; i < chart.parts.size(); ++i)
        if (chart.parts[i] == purpose.name && purpose.kind != MemoryPurpose::Kind::beside)
          row.amounts[i] += static_cast<double>(purpose.bytes) / kGiB;
    chart.rows.push_back(std::move(row));
  }
  return chart;
}

}  // namespace

ExitStatus plan_memory(parallel::MpiSession& session, config::Parameters& parameters, bool) {
  const config::PlanParameters& asked = parameters.plan;
  require(
      asked.write.empty(), ExitStatus::bad_configuration,
      "plan.write = \"{}\": espalier plan memory writes no files but that of plan.plot; remove it",
      asked.write);
  const Format format = report::format_from_name(asked.format);
  const std::vector<Plan> plans = make_plans(session, parameters);
  if (session.rank() != 0) return ExitStatus::ok;
  require(asked.plot.empty() || plans.size() == 1, ExitStatus::bad_configuration,
          "plan.plot draws the plan for one device, and plan.device names {}: name one",
          plans.size());
  std::string text;
  if (format == Format::csv || format == Format::json)
    text = machine_table(plans, format);
  else if (plans.size() > 1)
    text = heading(plans.front()) + "\n\n" + devices_table(plans, format);
  else
    text = page_of(plans.front(), format);
  if (!text.empty() && text.back() == '\n') text.pop_back();  // log::line ends it
  log::line(text);
  if (!asked.plot.empty()) report::write_svg(asked.plot, chart_of(plans.front()).svg());
  return ExitStatus::ok;
}

}  // namespace espalier::commands
