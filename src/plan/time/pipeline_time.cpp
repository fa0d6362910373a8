#include "plan/time/pipeline_time.hpp"

#include <fmt/core.h>

#include <algorithm>
#include <map>

#include "config/grid.hpp"
#include "model/stage_assignment.hpp"
#include "plan/pipeline_kinds.hpp"
#include "plan/time/collective_time.hpp"
#include "train/step/programs.hpp"

namespace espalier::plan {
namespace {

/// Rounds of as many micro-batches as there are stages that are simulated at least.
constexpr int kRounds = 4;

double message_of(const config::Parameters& p, const config::HardwareParameters& h,
                  const parallel::CollectiveCosts& messages) {
  const parallel::CollectiveCost& cost = messages.begin()->second;
  const double bytes = static_cast<double>(cost.bytes) / static_cast<double>(cost.calls);
  // Through a shared buffer: each byte is read and written twice.
  if (h.kind != "gpu") return h.copy_gbs > 0.0 ? 4.0 * bytes / (h.copy_gbs * 1e9) : 0.0;
  return message_seconds(bytes, config::grid_shape(p).stage_size(), h);
}

class PipelineModel {
 public:
  PipelineModel(const config::Parameters& parameters, const config::HardwareParameters& hardware)
      : p_(parameters),
        h_(hardware),
        shape_(config::grid_shape(parameters)),
        architecture_(model::Architecture::from(parameters.model)),
        assignment_(model::assign_stages(architecture_, parameters)) {}

  PipelineTime time();

 private:
  struct RankTime {
    std::vector<StepTime> forward, inputs, weights;  ///< of a micro-batch, by chunk
    StepTime all;                                    ///< of the step, without waiting
    double passes = 0.0;                             ///< of the step
  };
  const RankTime& rank_time(int pipeline_rank);
  void simulate(PipelineTime& result) const;

  const config::Parameters& p_;
  const config::HardwareParameters& h_;
  parallel::GridShape shape_;
  model::Architecture architecture_;
  model::StageAssignment assignment_;
  std::map<std::string, RankTime> times_;
  double message_ = 0.0;
};

const PipelineModel::RankTime& PipelineModel::rank_time(int pipeline_rank) {
  std::string kind = kind_of_rank(architecture_, assignment_, pipeline_rank);
  if (p_.memory.recompute == "budget")  // blocks of one kind recompute differently
    kind += fmt::format(" of rank {}", pipeline_rank);
  const auto [known, is_new] = times_.try_emplace(kind, RankTime{});
  RankTime& time = known->second;
  if (!is_new) return time;
  const bool gpu = h_.kind == "gpu";
  const RankCounts counts =
      count_rank(p_, {shape_, parallel::rank_at(shape_, {.pipeline = pipeline_rank})},
                 gpu ? device::Backend::cuda : device::Backend::host,
                 gpu ? static_cast<int>(h_.compute_capability) : 0);
  const std::int64_t micro_batches = train::num_micro_batches(p_, shape_);
  for (const PassCounts& pass : counts.chunks) {
    time.forward.push_back(time_of(pass.forward, p_, h_));
    time.inputs.push_back(time_of(pass.inputs, p_, h_));
    time.weights.push_back(time_of(pass.weights, p_, h_));
    for (const std::vector<StepTime>* part : {&time.forward, &time.inputs, &time.weights})
      time.passes += static_cast<double>(micro_batches) * part->back().step();
  }
  const StepCounts all = counts.at(micro_batches);
  if (const auto messages = all.collectives.find("pipeline"); messages != all.collectives.end())
    message_ = std::max(message_, message_of(p_, h_, messages->second));
  time.all = time_of(all, p_, h_);
  return time;
}

// From some micro-batches on every further round of p takes as long as the one before.
void PipelineModel::simulate(PipelineTime& result) const {
  const int p = shape_.pipeline, stages = assignment_.placement.num_stages();
  const int micro_batches = result.schedule.micro_batches;
  const auto with = [&](int number) {
    return pipeline::make_schedule(
        result.schedule.kind,
        {.ranks = p, .micro_batches = number, .chunks = result.schedule.placement.chunks});
  };
  const int rounds_more = (micro_batches - kRounds * stages) / p;
  if (rounds_more < kRounds) {
    result.simulation = pipeline::simulate(result.schedule, result.durations);
    result.passes = result.simulation.makespan;
    return;
  }
  const int few = micro_batches - rounds_more * p;
  result.simulation = pipeline::simulate(with(few + p), result.durations);
  const double before = pipeline::simulate(with(few), result.durations).makespan;
  result.passes = before + rounds_more * (result.simulation.makespan - before);
}

PipelineTime PipelineModel::time() {
  const pipeline::Placement& placement = assignment_.placement;
  PipelineTime result{.schedule = train::training_schedule(p_, shape_),
                      .durations = {},
                      .simulation = {},
                      .step = {}};
  for (int stage = 0; stage < placement.num_stages(); ++stage) {
    const RankTime& time = rank_time(placement.rank_of(stage));
    const auto chunk = static_cast<std::size_t>(placement.chunk_of(stage));
    result.durations.forward.push_back(time.forward[chunk].step());
    result.durations.inputs.push_back(time.inputs[chunk].step());
    result.durations.weights.push_back(time.weights[chunk].step());
  }
  result.durations.message = message_;
  simulate(result);

  double behind = 0.0, busy = 0.0;
  const RankTime* busiest = nullptr;
  for (int rank = 0; rank < placement.ranks; ++rank) {
    const RankTime& time = rank_time(rank);
    behind = std::max(behind, time.all.step() - time.passes);
    busy += time.passes;
    if (busiest == nullptr || time.passes > busiest->passes) busiest = &time;
  }
  result.bubble = 1.0 - busy / (placement.ranks * result.passes);
  result.step = busiest->all;
  result.step.bubble = result.passes + behind - result.step.step();
  return result;
}

}  // namespace

PipelineTime pipeline_time(const config::Parameters& parameters,
                           const config::HardwareParameters& hardware) {
  return PipelineModel(parameters, hardware).time();
}

}  // namespace espalier::plan
