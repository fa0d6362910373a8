#include "plan/time/pipeline_time.hpp"

#include <fmt/core.h>

#include <algorithm>
#include <map>
#include <tuple>

#include "config/grid.hpp"
#include "model/stage_assignment.hpp"
#include "plan/pipeline_kinds.hpp"
#include "plan/stage_counts.hpp"
#include "plan/time/collective_time.hpp"
#include "plan/time/pipeline_layout.hpp"
#include "train/step/programs.hpp"

namespace espalier::plan {
namespace {

/// Rounds of as many micro-batches as there are stages that are simulated at least.
constexpr int kRounds = 4;
/// Steps of programs that are kept for another simulation.
constexpr std::size_t kMostSteps = 4'000'000;

double message_seconds_of(const config::Parameters& p, const config::HardwareParameters& h) {
  const parallel::GridShape shape = config::grid_shape(p);
  const std::int64_t tokens =
      p.training.micro_batch_size * p.training.sequence_length / p.parallel.context;
  const bool splits = p.parallel.sequence_parallel && shape.tensor > 1;
  const auto bytes =
      static_cast<double>((splits ? tokens / shape.tensor : tokens) * p.model.hidden_size *
                          static_cast<std::int64_t>(size_of(dtype_from_name(p.training.dtype))));
  // Through a shared buffer: each byte is read and written twice.
  if (h.kind != "gpu") return h.copy_gbs > 0.0 ? 4.0 * bytes / (h.copy_gbs * 1e9) : 0.0;
  return message_seconds(bytes, shape.stage_size(), h);
}

/// Of a micro-batch, s.
struct PassSeconds {
  double forward = 0.0, inputs = 0.0, weights = 0.0;
};

/// Of a rank.
struct RankTime {
  std::vector<PassSeconds> chunks;
  StepTime all;         ///< of the step, without waiting
  double passes = 0.0;  ///< of the step
};

/// What a rank counts and times; the layouts' own part of it.
struct Ranks {
  PipelineLayout layout;
  std::vector<RankTime> times;  ///< by rank
};

}  // namespace

class StepTimes::Pipelines {
 public:
  explicit Pipelines(const config::HardwareParameters& hardware) : h_(hardware) {}

  /// With the simulation, and the schedule of the whole step, if they are wanted.
  PipelineTime time(const config::Parameters& p, bool shows_all);
  double at_least(const config::Parameters& p);

 private:
  using Stages = std::vector<PlacedStage>;
  struct MicroBatch {
    StepCounts each, of_first;  ///< the latter beside it
  };
  /// What decides the passes of stages.
  using PassKey =
      std::tuple<std::int64_t, std::int64_t, bool, std::int64_t, std::int64_t, std::string>;
  struct Passes {
    CountedStages counts;
    std::map<std::pair<StageKind, BackwardWay>, PassSeconds> seconds;
    std::map<Stages, MicroBatch> micro_batches;
  };
  using UpdateKey =
      std::tuple<std::int64_t, std::int64_t, std::int64_t, std::int64_t, bool, std::int64_t>;
  using ScheduleKey = std::tuple<std::string, int, int, int>;

  device::Backend backend() const {
    return h_.kind == "gpu" ? device::Backend::cuda : device::Backend::host;
  }
  int capability() const { return h_.kind == "gpu" ? static_cast<int>(h_.compute_capability) : 0; }

  Ranks ranks(const config::Parameters& p);
  RankTime counted(const config::Parameters& p, const parallel::ProcessGrid& grid) const;
  RankTime put_together(const config::Parameters& p, const Stages& stages);
  Passes& passes_of(const config::Parameters& p);
  const PassSeconds& seconds(Passes& passes, const PlacedStage& stage, const config::Parameters& p);
  const MicroBatch& micro_batch(Passes& passes, const Stages& stages);
  const StepCounts& update(const config::Parameters& p, const Stages& stages);
  const PipelineLayout& layout_of(const config::Parameters& p);
  const pipeline::Program& program(const config::Parameters& p,
                                   const pipeline::Placement& placement, int micro_batches);
  pipeline::Durations durations(const config::Parameters& p, const Ranks& ranks) const;

  const config::HardwareParameters& h_;
  std::map<PassKey, Passes> passes_;
  std::map<UpdateKey, CountedUpdates> updates_;
  std::map<ScheduleKey, PipelineLayout> layouts_;
  std::map<ScheduleKey, pipeline::Program> programs_;
  std::size_t num_steps_ = 0;  ///< of them
};

RankTime StepTimes::Pipelines::counted(const config::Parameters& p,
                                       const parallel::ProcessGrid& grid) const {
  RankTime time;
  const RankCounts counts = count_rank(p, grid, backend(), capability());
  const std::int64_t micro_batches = train::num_micro_batches(p, grid.shape());
  for (const PassCounts& pass : counts.chunks)
    time.chunks.push_back({time_of(pass.forward, p, h_).step(), time_of(pass.inputs, p, h_).step(),
                           time_of(pass.weights, p, h_).step()});
  time.all = time_of(counts.at(micro_batches), p, h_);
  return time;
}

StepTimes::Pipelines::Passes& StepTimes::Pipelines::passes_of(const config::Parameters& p) {
  const PassKey key{p.parallel.tensor, p.parallel.context,          p.parallel.sequence_parallel,
                    p.parallel.expert, p.training.micro_batch_size, p.memory.recompute};
  const auto known = passes_.find(key);
  if (known != passes_.end()) return known->second;
  return passes_
      .emplace(key, Passes{.counts = CountedStages(p, backend(), capability()),
                           .seconds = {},
                           .micro_batches = {}})
      .first->second;
}

const PassSeconds& StepTimes::Pipelines::seconds(Passes& passes, const PlacedStage& stage,
                                                 const config::Parameters& p) {
  const auto [known, is_new] = passes.seconds.try_emplace({stage.kind, stage.timed});
  if (!is_new) return known->second;
  const StageCounts& counts = passes.counts.of(stage.kind);
  const StageCounts::Backward& backward = counts.backward(stage.timed.is_at_once);
  const auto seconds = [&](const StepCounts& of) { return time_of(of, p, h_).step(); };
  known->second = {.forward = seconds(counts.forward),
                   .inputs = seconds(stage.timed.is_divided ? backward.inputs : backward.whole),
                   .weights = stage.timed.is_divided ? seconds(backward.weights) : 0.0};
  return known->second;
}

const StepTimes::Pipelines::MicroBatch& StepTimes::Pipelines::micro_batch(Passes& passes,
                                                                          const Stages& stages) {
  const auto [known, is_new] = passes.micro_batches.try_emplace(stages);
  MicroBatch& sum = known->second;
  if (!is_new) return sum;
  for (const PlacedStage& stage : stages) {
    const StageCounts& counts = passes.counts.of(stage.kind);
    const StageCounts::Backward& backward = counts.backward(stage.summed.is_at_once);
    add(sum.each, counts.forward, 1);
    add(sum.of_first, counts.of_first, 1);
    if (!stage.summed.is_divided) {
      add(sum.each, backward.whole, 1);
      continue;
    }
    add(sum.each, backward.inputs, 1);
    add(sum.each, backward.weights, 1);
  }
  return sum;
}

const StepCounts& StepTimes::Pipelines::update(const config::Parameters& p, const Stages& stages) {
  const UpdateKey key{p.parallel.tensor, p.parallel.context,           p.parallel.data,
                      p.parallel.expert, p.parallel.sequence_parallel, p.parallel.zero_stage};
  StageKind all;
  for (const PlacedStage& stage : stages) {
    all.num_layers += stage.kind.num_layers;
    all.has_embedding |= stage.kind.has_embedding;
    all.has_head |= stage.kind.has_head;
  }
  const auto known = updates_.find(key);
  if (known != updates_.end()) return known->second.of(all);
  return updates_.emplace(key, CountedUpdates(p, backend(), capability())).first->second.of(all);
}

RankTime StepTimes::Pipelines::put_together(const config::Parameters& p, const Stages& stages) {
  RankTime time;
  Passes& passes = passes_of(p);
  for (const PlacedStage& stage : stages) time.chunks.push_back(seconds(passes, stage, p));
  StepCounts all = update(p, stages);
  const MicroBatch& micro_batch = this->micro_batch(passes, stages);
  add(all, micro_batch.of_first, 1);
  add(all, micro_batch.each, train::num_micro_batches(p, config::grid_shape(p)));
  drop_empty(all);
  time.all = time_of(all, p, h_);
  return time;
}

const PipelineLayout& StepTimes::Pipelines::layout_of(const config::Parameters& p) {
  const auto few = static_cast<int>(few_micro_batches(p, config::grid_shape(p)));
  const ScheduleKey key{p.parallel.schedule, static_cast<int>(p.parallel.pipeline),
                        config::num_chunks(p.parallel), few};
  const auto known = layouts_.find(key);
  if (known != layouts_.end()) return known->second;
  return layouts_.emplace(key, PipelineLayout::of(p)).first->second;
}

Ranks StepTimes::Pipelines::ranks(const config::Parameters& p) {
  const parallel::GridShape shape = config::grid_shape(p);
  const std::int64_t micro_batches = train::num_micro_batches(p, shape);
  Ranks ranks{.layout = layout_of(p), .times = {}};
  // On a host what all ranks tell one another of every tensor takes time, too.
  const bool alike = has_blocks_alike(p) && micro_batches > 1 && h_.kind == "gpu";
  const model::Architecture architecture = model::Architecture::from(p.model);
  std::map<Stages, RankTime> of_stages;
  std::map<std::string, RankTime> of_kind;
  for (int rank = 0; rank < shape.pipeline; ++rank) {
    const Stages& stages = ranks.layout.ranks[static_cast<std::size_t>(rank)];
    if (alike) {
      const auto [known, is_new] = of_stages.try_emplace(stages);
      if (is_new) known->second = put_together(p, stages);
      ranks.times.push_back(known->second);
    } else {
      std::string kind = kind_of_rank(architecture, ranks.layout.assignment, rank);
      if (p.memory.recompute == "budget")  // blocks of one kind recompute differently
        kind += fmt::format(" of rank {}", rank);
      const auto [known, is_new] = of_kind.try_emplace(kind);
      if (is_new) known->second = counted(p, {shape, parallel::rank_at(shape, {.pipeline = rank})});
      ranks.times.push_back(known->second);
    }
    RankTime& time = ranks.times.back();
    for (const PassSeconds& pass : time.chunks)
      for (const double seconds : {pass.forward, pass.inputs, pass.weights})
        time.passes += static_cast<double>(micro_batches) * seconds;
  }
  return ranks;
}

pipeline::Durations StepTimes::Pipelines::durations(const config::Parameters& p,
                                                    const Ranks& ranks) const {
  const pipeline::Placement& placement = ranks.layout.assignment.placement;
  pipeline::Durations durations;
  for (int stage = 0; stage < placement.num_stages(); ++stage) {
    const RankTime& time = ranks.times[static_cast<std::size_t>(placement.rank_of(stage))];
    const PassSeconds& pass = time.chunks[static_cast<std::size_t>(placement.chunk_of(stage))];
    durations.forward.push_back(pass.forward);
    durations.inputs.push_back(pass.inputs);
    durations.weights.push_back(pass.weights);
  }
  durations.message = message_seconds_of(p, h_);
  return durations;
}

const pipeline::Program& StepTimes::Pipelines::program(const config::Parameters& p,
                                                       const pipeline::Placement& placement,
                                                       int micro_batches) {
  const ScheduleKey key{p.parallel.schedule, placement.ranks, placement.chunks, micro_batches};
  const auto known = programs_.find(key);
  if (known != programs_.end()) return known->second;
  if (num_steps_ > kMostSteps) {
    programs_.clear();
    num_steps_ = 0;
  }
  pipeline::Program& program =
      programs_
          .emplace(key, pipeline::lower(pipeline::make_schedule(
                                            pipeline::schedule_from_name(p.parallel.schedule),
                                            {.ranks = placement.ranks,
                                             .micro_batches = micro_batches,
                                             .chunks = placement.chunks}),
                                        {.early = true}))
          .first->second;
  for (const pipeline::RankProgram& rank : program.ranks) num_steps_ += rank.steps.size();
  return program;
}

PipelineTime StepTimes::Pipelines::time(const config::Parameters& p, bool shows_all) {
  const Ranks all = ranks(p);
  const pipeline::Placement& placement = all.layout.assignment.placement;
  PipelineTime result;
  result.durations = durations(p, all);
  const auto micro_batches = static_cast<int>(train::num_micro_batches(p, config::grid_shape(p)));
  if (shows_all) result.schedule = train::training_schedule(p, config::grid_shape(p));

  // From some micro-batches on every further round of p takes as long as the one before.
  const int rounds_more = (micro_batches - kRounds * placement.num_stages()) / placement.ranks;
  const int few = micro_batches - (rounds_more < kRounds ? 0 : rounds_more - 1) * placement.ranks;
  const pipeline::Program& first = program(p, placement, few);
  if (shows_all) result.simulation = pipeline::simulate(first, result.durations);
  const double makespan =
      shows_all ? result.simulation.makespan : pipeline::makespan_of(first, result.durations);
  result.passes = makespan;
  if (rounds_more >= kRounds) {
    const double before =
        pipeline::makespan_of(program(p, placement, few - placement.ranks), result.durations);
    result.passes = before + rounds_more * (makespan - before);
  }

  double behind = 0.0, busy = 0.0;
  const RankTime* busiest = nullptr;
  for (const RankTime& time : all.times) {
    behind = std::max(behind, time.all.step() - time.passes);
    busy += time.passes;
    if (busiest == nullptr || time.passes > busiest->passes) busiest = &time;
  }
  result.bubble = 1.0 - busy / (placement.ranks * result.passes);
  result.step = busiest->all;
  result.step.bubble = result.passes + behind - result.step.step();
  return result;
}

double StepTimes::Pipelines::at_least(const config::Parameters& p) {
  const Ranks all = ranks(p);
  const pipeline::Placement& placement = all.layout.assignment.placement;
  double most = 0.0, behind = 0.0, before = 0.0;
  // The first micro-batch comes to a rank through the first stages of those before it.
  for (int rank = 0; rank < placement.ranks; ++rank) {
    const RankTime& time = all.times[static_cast<std::size_t>(rank)];
    most = std::max(most, before + time.passes);
    before += time.chunks.front().forward;
    behind = std::max(behind, time.all.step() - time.passes);
  }
  return most + behind;
}

StepTimes::StepTimes(const config::HardwareParameters& hardware)
    : pipelines_(std::make_unique<Pipelines>(hardware)), hardware_(hardware) {}
StepTimes::~StepTimes() = default;

StepTime StepTimes::of(const config::Parameters& p) {
  if (p.parallel.pipeline > 1) return pipelines_->time(p, false).step;
  return time_of(count_step_for(p, hardware_), p, hardware_);
}

double StepTimes::at_least(const config::Parameters& p) {
  return pipelines_->at_least(p);
}

PipelineTime pipeline_time(const config::Parameters& parameters,
                           const config::HardwareParameters& hardware) {
  return StepTimes::Pipelines(hardware).time(parameters, true);
}

}  // namespace espalier::plan
