#include "plan/estimate/layout_memory.hpp"

#include <algorithm>

#include "base/integers.hpp"
#include "config/grid.hpp"
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
  result.library_bytes = library_bytes(p, shape, room);
  for (const int rank : largest_of_each_kind(p, shape))
    result.memory_bytes =
        std::max(result.memory_bytes,
                 state_bytes(p, rank) + activation_bytes(p, rank) + result.library_bytes);
  result.fits = room.free_bytes == 0 || result.memory_bytes <= room.free_bytes;
  return result;
}

std::int64_t LayoutMemory::state_bytes(const config::Parameters& p, int pipeline_rank) {
  const config::ParallelParameters& grid = p.parallel;
  const auto [known, is_new] =
      states_.try_emplace(fmt::format("{} {} {} {} {} {} {} {} {}", grid.tensor, grid.data,
                                      grid.pipeline, grid.expert, grid.schedule, grid.chunks,
                                      grid.zero_stage, grid.sequence_parallel, pipeline_rank),
                          0);
  if (!is_new) return known->second;
  const parallel::GridShape shape = shape_of(p);
  for (const int rank : parallel::corner_ranks(shape)) {
    if (rank / shape.stage_size() != pipeline_rank) continue;
    const TrainingMemory plan = TrainingMemory::planned(p, {shape, rank}, backend_of(hardware_),
                                                        narrow<int>(hardware_.compute_capability));
    std::int64_t bytes = plan.weight_arena.used_bytes() + plan.gradient_arena.used_bytes() +
                         plan.optimizer_arena.used_bytes();
    if (backend_of(hardware_) == device::Backend::host) bytes += save_copy_bytes(p, plan);
    known->second = std::max(known->second, bytes);
  }
  return known->second;
}

std::int64_t LayoutMemory::activation_bytes(const config::Parameters& p, int pipeline_rank) {
  const parallel::GridShape shape = shape_of(p);
  // Of a pipeline it matters how many micro-batches are under way.
  const std::int64_t micro_batches = shape.pipeline == 1 ? 1 : train::num_micro_batches(p, shape);
  const auto [known, is_new] = activations_.try_emplace(
      fmt::format("{} {} {} {} {} {} {} {} {} {}", p.parallel.tensor, p.parallel.pipeline,
                  p.parallel.expert, p.parallel.schedule, p.parallel.chunks,
                  p.training.micro_batch_size, micro_batches, p.memory.recompute,
                  p.parallel.sequence_parallel, pipeline_rank),
      0);
  if (!is_new) return known->second;
  const TrainingMemory plan =
      TrainingMemory::planned(p, {shape, parallel::rank_at(shape, {.pipeline = pipeline_rank})},
                              backend_of(hardware_), narrow<int>(hardware_.compute_capability));
  known->second = plan.activation_arena.used_bytes() + plan.context_bytes();
  return known->second;
}

}  // namespace espalier::plan
