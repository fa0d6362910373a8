#include "plan/estimate/layout_memory.hpp"

#include <algorithm>

#include "base/integers.hpp"
#include "config/grid.hpp"
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
  const Bytes &states = state_bytes(p), &activations = activation_bytes(p);
  for (std::size_t rank = 0; rank < states.size(); ++rank)
    result.memory_bytes =
        std::max(result.memory_bytes, states[rank] + activations[rank] + result.library_bytes);
  result.fits = room.free_bytes == 0 || result.memory_bytes <= room.free_bytes;
  return result;
}

const LayoutMemory::Bytes& LayoutMemory::state_bytes(const config::Parameters& p) {
  const config::ParallelParameters& grid = p.parallel;
  const auto [known, is_new] = states_.try_emplace(
      fmt::format("{} {} {} {} {} {} {} {}", grid.tensor, grid.data, grid.pipeline, grid.expert,
                  grid.schedule, grid.chunks, grid.zero_stage, grid.sequence_parallel),
      Bytes(static_cast<std::size_t>(grid.pipeline)));
  if (!is_new) return known->second;
  const parallel::GridShape shape = shape_of(p);
  for (const int rank : parallel::corner_ranks(shape)) {
    const TrainingMemory plan = TrainingMemory::planned(p, {shape, rank}, backend_of(hardware_),
                                                        narrow<int>(hardware_.compute_capability));
    std::int64_t bytes = plan.weight_arena.used_bytes() + plan.gradient_arena.used_bytes() +
                         plan.optimizer_arena.used_bytes();
    if (backend_of(hardware_) == device::Backend::host) bytes += save_copy_bytes(p, plan);
    std::int64_t& most = known->second[static_cast<std::size_t>(rank / shape.stage_size())];
    most = std::max(most, bytes);
  }
  return known->second;
}

const LayoutMemory::Bytes& LayoutMemory::activation_bytes(const config::Parameters& p) {
  const parallel::GridShape shape = shape_of(p);
  // Of a pipeline it matters how many micro-batches are under way.
  const std::int64_t micro_batches = shape.pipeline == 1 ? 1 : train::num_micro_batches(p, shape);
  const auto [known, is_new] = activations_.try_emplace(
      fmt::format("{} {} {} {} {} {} {} {} {}", p.parallel.tensor, p.parallel.pipeline,
                  p.parallel.expert, p.parallel.schedule, p.parallel.chunks,
                  p.training.micro_batch_size, micro_batches, p.memory.recompute,
                  p.parallel.sequence_parallel),
      Bytes(static_cast<std::size_t>(shape.pipeline)));
  if (!is_new) return known->second;
  for (int rank = 0; rank < shape.pipeline; ++rank) {
    const TrainingMemory plan =
        TrainingMemory::planned(p, {shape, parallel::rank_at(shape, {.pipeline = rank})},
                                backend_of(hardware_), narrow<int>(hardware_.compute_capability));
    known->second[static_cast<std::size_t>(rank)] =
        plan.activation_arena.used_bytes() + plan.context_bytes();
  }
  return known->second;
}

}  // namespace espalier::plan
