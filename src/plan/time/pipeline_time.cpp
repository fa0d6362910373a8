#include "plan/time/pipeline_time.hpp"

#include <algorithm>
#include <map>

#include "config/grid.hpp"
#include "model/stage_assignment.hpp"
#include "plan/time/collective_time.hpp"
#include "train/step/programs.hpp"

namespace espalier::plan {
namespace {

/// What tells the work of a rank of the pipeline from that of another: which blocks its stages
/// have, and what stands at their ends.
std::string kind_of_rank(const model::Architecture& architecture,
                         const std::vector<model::StageExtent>& chunks) {
  std::string kind;
  for (const model::StageExtent& extent : chunks) {
    kind += extent.has_embedding ? "e" : "";
    for (std::int64_t i = 0; i < extent.num_layers; ++i)
      kind += architecture.is_sparse(extent.first + i) ? "s" : "d";
    kind += extent.has_head ? "h|" : "|";
  }
  return kind;
}

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

  const config::Parameters& p_;
  const config::HardwareParameters& h_;
  parallel::GridShape shape_;
  model::Architecture architecture_;
  model::StageAssignment assignment_;
  std::map<std::string, RankTime> times_;
  double message_ = 0.0;
};

const PipelineModel::RankTime& PipelineModel::rank_time(int pipeline_rank) {
  const auto [known, is_new] = times_.try_emplace(
      kind_of_rank(architecture_, assignment_.of_rank(pipeline_rank)), RankTime{});
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
  result.simulation = pipeline::simulate(result.schedule, result.durations);

  double behind = 0.0;
  const RankTime* busiest = nullptr;
  for (int rank = 0; rank < placement.ranks; ++rank) {
    const RankTime& time = rank_time(rank);
    behind = std::max(behind, time.all.step() - time.passes);
    if (busiest == nullptr || time.passes > busiest->passes) busiest = &time;
  }
  result.step = busiest->all;
  result.step.bubble = result.simulation.makespan + behind - result.step.step();
  return result;
}

}  // namespace

PipelineTime pipeline_time(const config::Parameters& parameters,
                           const config::HardwareParameters& hardware) {
  return PipelineModel(parameters, hardware).time();
}

}  // namespace espalier::plan
