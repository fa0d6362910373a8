#include "plan/estimate/layout_memory.hpp"

#include <algorithm>

#include "base/integers.hpp"
#include "config/grid.hpp"
#include "model/stage_assignment.hpp"
#include "plan/pipeline_kinds.hpp"
#include "plan/recompute_budget.hpp"
#include "train/step/programs.hpp"

namespace espalier::plan {
namespace {

device::Backend backend_of(const config::HardwareParameters& h) {
  return h.kind == "gpu" ? device::Backend::cuda : device::Backend::host;
}

parallel::GridShape shape_of(const config::Parameters& p) {
  return config::grid_shape(p);
}

}  // namespace

Room room_on(const config::HardwareParameters& h) {
  return {.backend = backend_of(h),
          .free_bytes = static_cast<std::int64_t>(h.memory_gib * static_cast<double>(1 << 30)),
          .whose = h.name,
          .compute_capability = narrow<int>(h.compute_capability),
          .has_context = false};
}

config::Parameters chosen_for(const config::Parameters& p, const config::HardwareParameters& h) {
  return h.memory_gib > 0.0 ? with_recompute_chosen(p, shape_of(p), room_on(h)) : p;
}

Estimate LayoutMemory::of(const config::Parameters& p) {
  const parallel::GridShape shape = shape_of(p);
  const Room room = room_on(hardware_);
  Estimate result;
  result.ranks = shape.size();
  const auto [libraries, is_new] = libraries_.try_emplace(
      {p.parallel.tensor, p.parallel.context, p.parallel.data, p.parallel.expert,
       p.parallel.sequence_parallel, config::num_chunks(p.parallel)},
      0);
  if (is_new) libraries->second = library_bytes(p, shape, room);
  result.library_bytes = libraries->second;
  result.memory_bytes = rank_bytes(p) + result.library_bytes;
  result.fits = room.free_bytes == 0 || result.memory_bytes <= room.free_bytes;
  return result;
}

std::int64_t LayoutMemory::rank_bytes(const config::Parameters& p) {
  if (!has_blocks_alike(p)) return planned_rank_bytes(p);
  const parallel::GridShape shape = shape_of(p);
  const device::Backend backend = backend_of(hardware_);
  const int capability = narrow<int>(hardware_.compute_capability);
  const auto [state, new_state] =
      states_.try_emplace({p.parallel.tensor, p.parallel.context, p.parallel.data,
                           p.parallel.expert, p.parallel.sequence_parallel, p.parallel.zero_stage});
  if (new_state) state->second.emplace(p, backend, capability);
  const auto [activations, new_activations] = activations_.try_emplace(
      {p.parallel.tensor, p.parallel.context, p.parallel.expert, p.parallel.sequence_parallel,
       p.training.micro_batch_size, p.memory.recompute});
  if (new_activations) activations->second.emplace(p, backend, capability);

  const auto [ranks, new_ranks] =
      ranks_.try_emplace({p.parallel.schedule, p.parallel.pipeline, p.parallel.chunks});
  if (new_ranks) {
    const model::StageAssignment assignment =
        model::assign_stages(model::Architecture::from(p.model), p);
    for (int rank = 0; rank < shape.pipeline; ++rank) {
      std::vector<StageKind>& stages = ranks->second.emplace_back();
      for (const model::StageExtent& extent : assignment.of_rank(rank))
        stages.push_back(StageKind::of(extent));
    }
  }
  const std::vector<RankBuffers>& buffers = buffers_of(p, shape);
  std::int64_t most = 0;
  for (int rank = 0; rank < shape.pipeline; ++rank) {
    const std::vector<StageKind>& stages = ranks->second[static_cast<std::size_t>(rank)];
    StageKind all;
    for (const StageKind& stage : stages) {
      all.num_layers += stage.num_layers;
      all.has_embedding |= stage.has_embedding;
      all.has_head |= stage.has_head;
    }
    most = std::max(most,
                    state->second->of(all) +
                        activations->second->of(stages, buffers[static_cast<std::size_t>(rank)]));
  }
  return most;
}

const std::vector<RankBuffers>& LayoutMemory::buffers_of(const config::Parameters& p,
                                                         const parallel::GridShape& shape) {
  static const std::vector<RankBuffers> kOne(1);
  if (shape.pipeline == 1) return kOne;
  return buffers_.of(pipeline::schedule_from_name(p.parallel.schedule),
                     {.ranks = shape.pipeline,
                      .micro_batches = narrow<int>(train::num_micro_batches(p, shape)),
                      .chunks = config::num_chunks(p.parallel)});
}

std::int64_t LayoutMemory::planned_rank_bytes(const config::Parameters& p) const {
  const parallel::GridShape shape = shape_of(p);
  const std::vector<int> stages = largest_of_each_kind(p, shape);
  std::int64_t most = 0;
  for (const int rank : parallel::corner_ranks(shape)) {
    const int stage = rank / shape.stage_size();
    if (std::find(stages.begin(), stages.end(), stage) == stages.end()) continue;
    const TrainingMemory plan = TrainingMemory::planned(p, {shape, rank}, backend_of(hardware_),
                                                        narrow<int>(hardware_.compute_capability));
    std::int64_t bytes = plan.total_bytes();
    if (backend_of(hardware_) == device::Backend::host) bytes += save_copy_bytes(p, plan);
    most = std::max(most, bytes);
  }
  return most;
}

}  // namespace espalier::plan
