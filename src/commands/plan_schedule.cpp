// espalier plan schedule: pipeline schedules compared, or one of them rank by rank and drawn.
#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>

#include "base/error.hpp"
#include "base/integers.hpp"
#include "base/log.hpp"
#include "base/text.hpp"
#include "commands/commands.hpp"
#include "parallel/comm/on_rank_0.hpp"
#include "parallel/schedule/picture.hpp"
#include "report/chart.hpp"
#include "report/table.hpp"

namespace espalier::commands {
namespace {

using pipeline::PipelineShape;
using pipeline::Schedule;
using pipeline::ScheduleKind;
using pipeline::Simulation;
using report::Cell;
using report::Format;
using report::Table;

/// What is simulated within seconds and half a gigabyte: 128 ranks, 1024 micro-batches, 2 chunks.
constexpr std::int64_t kMostActions = 1'000'000;
constexpr std::size_t kMostDrawn = 20'000;  ///< in an SVG, of some 300 bytes each
// Of a picture for a terminal: lines, cells of F, B and W together, cells of a line.
constexpr int kMostLines = 64;
constexpr double kMostCells = 60.0, kMostColumns = 100'000.0;

/// Times of a rank's whole work on a micro-batch, as whole numbers.
struct Times {
  std::int64_t forward, inputs, weights, message;
};

/// What is asked for, chunks apart, which a schedule chooses.
struct Question {
  int ranks, micro_batches;
  Times times;
};

int micro_batches_of(const config::Parameters& p) {
  if (p.plan.micro_batches > 0) return narrow<int>(p.plan.micro_batches);
  const std::int64_t batch = p.training.global_batch_size;
  const std::int64_t together =
      p.training.micro_batch_size * std::max<std::int64_t>(1, p.parallel.data);
  require(batch % together == 0, ExitStatus::bad_configuration,
          "training.global_batch_size = {} is no multiple of training.micro_batch_size x "
          "parallel.data = {}: change one of them, or name plan.micro_batches",
          batch, together);
  return narrow<int>(std::min<std::int64_t>(batch / together, 1 << 20));
}

Times times_of(const config::PlanParameters& plan) {
  const std::vector<std::int64_t>& t = plan.schedule_times;
  const auto fits = [](std::int64_t time) { return time >= 0 && time <= 1'000'000; };
  require((t.size() == 3 || t.size() == 4) && std::all_of(t.begin(), t.end(), fits) && t[0] > 0,
          ExitStatus::bad_configuration,
          "plan.schedule_times = {}: name three numbers, the times of a forward, of gradients "
          "of inputs and of gradients of weights, and a fourth if a message takes time; each "
          "from 0 to 1000000, the first from 1, such as [10, 12, 8]",
          config::toml_value(t));
  return {t[0], t[1], t[2], t.size() == 4 ? t[3] : 0};
}

/// The chunks that a schedule has of those that are asked for; in the table of all, those that
/// have a number of their own keep it.
int chunks_of(ScheduleKind kind, const config::PlanParameters& plan) {
  const bool is_free = kind == ScheduleKind::interleaved || kind == ScheduleKind::zb1p;
  if (plan.chunks == 0 || (plan.schedule == "all" && !is_free))
    return pipeline::default_chunks(kind);
  return narrow<int>(plan.chunks);
}

/// A schedule, what it needs, and how it goes.
struct Plan {
  ScheduleKind kind;
  PipelineShape shape;
  Schedule schedule;
  pipeline::Program program;
  Simulation simulation;
  double most_live() const { return live(true); }
  double least_live() const { return live(false); }
  /// Micro-batches that a rank keeps at most.
  double live_of(std::size_t rank) const {
    return static_cast<double>(simulation.ranks[rank].most.activations) / shape.chunks;
  }

 private:
  double live(bool most) const {
    double live = live_of(0);
    for (std::size_t rank = 1; rank < simulation.ranks.size(); ++rank)
      live = most ? std::max(live, live_of(rank)) : std::min(live, live_of(rank));
    return live;
  }
};

void require_size(const PipelineShape& shape) {
  const std::int64_t calls = std::int64_t{3} * shape.ranks * shape.micro_batches * shape.chunks;
  require(calls <= kMostActions, ExitStatus::bad_configuration,
          "{} ranks x {} micro-batches x {} chunks are up to {} actions, and {} are the most "
          "that is simulated: name fewer plan.micro_batches, for the idle time of a step is "
          "the same from a few times the ranks on",
          shape.ranks, shape.micro_batches, shape.chunks, with_commas(calls),
          with_commas(kMostActions));
}

Plan make_plan(ScheduleKind kind, const PipelineShape& shape, const Times& times) {
  Plan plan{.kind = kind,
            .shape = shape,
            .schedule = pipeline::make_schedule(kind, shape),
            .program = {},
            .simulation = {}};
  plan.program = pipeline::lower(plan.schedule);
  plan.simulation = pipeline::simulate(
      plan.program, pipeline::even_durations(
                        plan.schedule.placement, static_cast<double>(times.forward),
                        static_cast<double>(times.inputs), static_cast<double>(times.weights),
                        static_cast<double>(times.message)));
  ESPALIER_ASSERT(plan.simulation.deadlock.empty(), "{}: {}", pipeline::name_of(kind),
                  plan.simulation.describe_deadlock());
  return plan;
}

Cell number_cell(double number) {
  return {number, fmt::format("{:.6g}", number)};
}
Cell share_cell(double share) {
  return {share, fmt::format("{:.2f}", 100.0 * share)};
}

std::string describe_question(const Question& q) {
  return fmt::format(
      "{} ranks, {} micro-batches; times of a rank for one: F {}, B {}, W {}, a message {}",
      q.ranks, q.micro_batches, q.times.forward, q.times.inputs, q.times.weights, q.times.message);
}

// All of them -------------------------------------------------------------------------------------

/// A schedule of the table, or why it is not there.
struct Compared {
  ScheduleKind kind;
  PipelineShape shape;
  std::string misfit;
  double makespan = 0.0, ideal = 0.0, bubble = 0.0, most_live = 0.0, least_live = 0.0;
  int slots = 0, weight_slots = 0, messages = 0;  ///< of the rank with most
};

std::vector<Compared> compare(const Question& q, const config::PlanParameters& asked) {
  std::vector<Compared> all;
  for (const std::string_view name : pipeline::schedule_names()) {
    Compared c{.kind = pipeline::schedule_from_name(name), .shape = {}, .misfit = {}};
    c.shape = {
        .ranks = q.ranks, .micro_batches = q.micro_batches, .chunks = chunks_of(c.kind, asked)};
    const pipeline::Misfit misfit = pipeline::misfit_of(c.kind, c.shape);
    c.misfit = misfit.first();
    if (misfit.none()) {
      const Plan plan = make_plan(c.kind, c.shape, q.times);
      c.makespan = plan.simulation.makespan;
      c.ideal = plan.simulation.ideal;
      c.bubble = plan.simulation.bubble();
      c.most_live = plan.most_live();
      c.least_live = plan.least_live();
      for (const pipeline::RankProgram& rank : plan.program.ranks) {
        c.slots = std::max(c.slots, rank.buffers.slots);
        c.weight_slots = std::max(c.weight_slots, rank.buffers.weight_slots);
        c.messages = std::max(c.messages, rank.num_messages);
      }
    }
    all.push_back(std::move(c));
  }
  return all;
}

std::string comparison(const Question& q, const std::vector<Compared>& all, Format format) {
  const bool for_people = is_for_people(format);
  std::vector<report::Column> columns = {
      {"schedule", "schedule"}, {"chunks", "chunks"},        {"makespan", "makespan"},
      {"bubble", "bubble, %"},  {"live_most", "live, most"}, {"live_least", "live, least"},
      {"slots", "slots"},       {"weight_slots", "W slots"}, {"messages", "messages"}};
  if (!for_people) {
    columns.push_back({"ideal", "ideal"});
    columns.push_back({"misfit", "misfit"});
  }
  Table table(columns);
  std::string misfits;
  const Cell none(std::numeric_limits<double>::quiet_NaN(), "");
  for (const Compared& c : all) {
    std::vector<Cell> cells = {std::string(pipeline::name_of(c.kind)), number_cell(c.shape.chunks)};
    if (!c.misfit.empty()) {
      misfits += "does not fit: " + c.misfit + "\n";
      if (for_people) continue;
      cells.resize(columns.size() - 1, none);
      cells.emplace_back(c.misfit);
    } else {
      for (const Cell& cell :
           {number_cell(c.makespan), share_cell(c.bubble), number_cell(c.most_live),
            number_cell(c.least_live), number_cell(c.slots), number_cell(c.weight_slots),
            number_cell(c.messages)})
        cells.push_back(cell);
      if (!for_people) {
        cells.push_back(number_cell(c.ideal));
        cells.emplace_back("");
      }
    }
    table.add(std::move(cells));
  }
  if (!for_people) return table.print(format);
  const double ideal = static_cast<double>(q.micro_batches) *
                       static_cast<double>(q.times.forward + q.times.inputs + q.times.weights);
  return fmt::format(
      "{}\nwithout idle time a step would take {:.6g}\n\n{}\n{}"
      "live: micro-batches whose activations a rank keeps, of the rank with most and with least\n"
      "slots: the same in chunks, and what W needs from B; messages: sent by a rank, at most",
      describe_question(q), ideal, table.print(format), misfits);
}

report::StackedBars bars_of(const std::vector<Compared>& all) {
  report::StackedBars chart{.title = "Pipeline schedules: a step of a rank",
                            .unit = "time",
                            .parts = {"work", "idle"},
                            .rows = {}};
  for (const Compared& c : all)
    if (c.misfit.empty())
      chart.rows.push_back(
          {std::string(pipeline::name_of(c.kind)), {c.ideal, c.makespan - c.ideal}});
  return chart;
}

// One of them -------------------------------------------------------------------------------------

std::string stages_of(const Plan& plan, int rank) {
  std::string text;
  for (int chunk = 0; chunk < plan.shape.chunks; ++chunk)
    text +=
        fmt::format("{}{}", chunk == 0 ? "" : " ", plan.schedule.placement.stage_of(rank, chunk));
  return text;
}

/// "0F0 0F1 0BW0": stage, letter and micro-batch of a rank's actions, in order.
std::string actions_of(const Plan& plan, std::size_t rank) {
  std::string text;
  for (const pipeline::Action& a : plan.schedule.actions[rank])
    text += fmt::format("{}{}{}{}", text.empty() ? "" : " ", a.stage, pipeline::letters_of(a.kind),
                        a.micro_batch);
  return text;
}

std::string ranks_table(const Plan& plan, Format format) {
  const bool for_people = is_for_people(format);
  std::vector<report::Column> columns = {
      {"rank", "rank"},   {"stages", "stages"},        {"busy", "busy"},
      {"idle", "idle"},   {"idle_share", "idle, %"},   {"live", "live"},
      {"slots", "slots"}, {"weight_slots", "W slots"}, {"messages", "messages"}};
  if (!for_people) {
    columns.push_back({"makespan", "makespan"});
    columns.push_back({"actions", "actions"});
  }
  Table table(columns);
  for (int rank = 0; rank < plan.shape.ranks; ++rank) {
    const auto i = static_cast<std::size_t>(rank);
    const pipeline::RankSimulation& r = plan.simulation.ranks[i];
    const pipeline::RankProgram& program = plan.program.ranks[i];
    std::vector<Cell> cells = {number_cell(rank),
                               stages_of(plan, rank),
                               number_cell(r.busy),
                               number_cell(r.idle),
                               share_cell(r.idle / plan.simulation.makespan),
                               number_cell(plan.live_of(i)),
                               number_cell(program.buffers.slots),
                               number_cell(program.buffers.weight_slots),
                               number_cell(program.num_messages)};
    if (!for_people) {
      cells.push_back(number_cell(plan.simulation.makespan));
      cells.emplace_back(actions_of(plan, i));
    }
    table.add(std::move(cells));
  }
  return table.print(format);
}

/// Time of a cell of the picture: the largest of which all times are multiples, unless that makes
/// very many cells.
double unit_of(const Question& q, const Plan& plan) {
  const Times& t = q.times;
  const int chunks = plan.shape.chunks;
  const std::int64_t common =
      std::gcd(std::gcd(std::gcd(t.forward, t.inputs), t.weights), t.message * chunks);
  const auto work = static_cast<double>(t.forward + t.inputs + t.weights);
  return std::max({static_cast<double>(common) / chunks, work / chunks / kMostCells,
                   plan.simulation.makespan / kMostColumns});
}

std::string page_of(const Question& q, const Plan& plan, Format format) {
  const Simulation& s = plan.simulation;
  std::string text =
      fmt::format("{}: {}\na step takes {:.6g}, without idle time {:.6g}: bubble {:.2f} %\n\n{}\n",
                  pipeline::name_of(plan.kind), describe_question(q), s.makespan, s.ideal,
                  100.0 * s.bubble(), ranks_table(plan, format));
  if (q.ranks <= kMostLines) {
    const std::string fence = format == Format::markdown ? "```\n" : "";
    text += fence + pipeline::picture(plan.schedule, s, {.unit = unit_of(q, plan)}) + fence +
            pipeline::picture_legend(plan.schedule.placement) + "\n";
  } else {
    text += fmt::format("more than {} ranks are not drawn here; plan.plot does\n", kMostLines);
  }
  return text +
         "live: micro-batches whose activations are kept, at most; slots: the same in chunks, and "
         "what\nW needs from B; messages: sent";
}

report::Timeline timeline_of(const Question& q, const Plan& plan) {
  std::size_t actions = 0;
  for (const pipeline::RankSimulation& rank : plan.simulation.ranks) actions += rank.actions.size();
  require(actions <= kMostDrawn, ExitStatus::bad_configuration,
          "plan.plot would draw {} actions, and {} are the most: name fewer "
          "plan.micro_batches, whose picture begins and ends alike",
          with_commas(static_cast<std::int64_t>(actions)),
          with_commas(static_cast<std::int64_t>(kMostDrawn)));
  const pipeline::Placement& placement = plan.schedule.placement;
  report::Timeline chart{
      .title = fmt::format("{} on {} ranks, {} micro-batches: bubble {:.2f} %",
                           pipeline::name_of(plan.kind), q.ranks, q.micro_batches,
                           100.0 * plan.simulation.bubble()),
      .unit = "time",
      .parts = {{"F forward", 0}, {"B gradients of inputs", 1}, {"W gradients of weights", 2}},
      .rows = {}};
  // Colours of every second chunk, which differ from the others in grey, too.
  if (placement.chunks > 1) {
    const std::string which = placement.chunks == 2 ? "second chunk" : "2nd, 4th, ... chunk";
    chart.parts.push_back({"F, " + which, 5});
    chart.parts.push_back({"B, " + which, 3});
    chart.parts.push_back({"W, " + which, 6});
  }
  for (std::size_t rank = 0; rank < plan.simulation.ranks.size(); ++rank) {
    report::Timeline::Row row{fmt::format("rank {}", rank), {}};
    for (const pipeline::TimedAction& a : plan.simulation.ranks[rank].actions) {
      const std::size_t chunk_parts = placement.chunk_of(a.action.stage) % 2 == 1 ? 3 : 0;
      const auto add = [&](char letter, std::size_t part, double begin, double end) {
        if (end > begin)
          row.stretches.push_back(
              {begin, end, part + chunk_parts, pipeline::cell_label(letter, placement, a.action),
               fmt::format("{}: {:.6g} to {:.6g}", describe(a.action), begin, end)});
      };
      if (is_forward(a.action)) {
        add('F', 0, a.begin, a.end);
      } else {
        add('B', 1, a.begin, a.weights_begin);
        add('W', 2, a.weights_begin, a.end);
      }
    }
    chart.rows.push_back(std::move(row));
  }
  return chart;
}

/// With the keys that say so.
PipelineShape fitting_shape(ScheduleKind kind, const Question& q,
                            const config::PlanParameters& asked) {
  const PipelineShape shape{
      .ranks = q.ranks, .micro_batches = q.micro_batches, .chunks = chunks_of(kind, asked)};
  const pipeline::Misfit misfit = pipeline::misfit_of(kind, shape);
  require(misfit.chunks.empty(), ExitStatus::bad_configuration, "plan.chunks = {}: {}",
          asked.chunks, misfit.chunks);
  require(misfit.micro_batches.empty(), ExitStatus::bad_configuration,
          "plan.micro_batches = {}: {}", q.micro_batches, misfit.micro_batches);
  return shape;
}

/// On rank 0, whose error is then one of every rank.
std::string planned(const config::Parameters& parameters) {
  const config::PlanParameters& asked = parameters.plan;
  const Format format = report::format_from_name(asked.format);
  const Question q{.ranks = narrow<int>(asked.pipeline),
                   .micro_batches = micro_batches_of(parameters),
                   .times = times_of(asked)};
  if (asked.schedule == "all") {
    require_size({.ranks = q.ranks,
                  .micro_batches = q.micro_batches,
                  .chunks = std::max(2, narrow<int>(asked.chunks))});
    const std::vector<Compared> all = compare(q, asked);
    if (!asked.plot.empty()) report::write_svg(asked.plot, bars_of(all).svg());
    return comparison(q, all, format);
  }
  const ScheduleKind kind = pipeline::schedule_from_name(asked.schedule);
  const PipelineShape shape = fitting_shape(kind, q, asked);
  require_size(shape);
  const Plan plan = make_plan(kind, shape, q.times);
  if (!asked.plot.empty()) report::write_svg(asked.plot, timeline_of(q, plan).svg());
  return is_for_people(format) ? page_of(q, plan, format) : ranks_table(plan, format);
}

}  // namespace

ExitStatus plan_schedule(parallel::MpiSession& session, config::Parameters& parameters, bool) {
  std::string text = parallel::on_rank_0(session, [&] { return planned(parameters); });
  text.erase(text.find_last_not_of('\n') + 1);  // log::line ends it
  log::line(text);
  return ExitStatus::ok;
}

}  // namespace espalier::commands
