#include "plan/estimate/layout_memory.hpp"

#include <algorithm>

#include "base/integers.hpp"
#include "plan/recompute_budget.hpp"

namespace espalier::plan {
namespace {

device::Backend backend_of(const config::HardwareParameters& h) {
  return h.kind == "gpu" ? device::Backend::cuda : device::Backend::host;
}

parallel::GridShape shape_of(const config::Parameters& p) {
  return {.tensor = narrow<int>(p.parallel.tensor),
          .context = narrow<int>(p.parallel.context),
          .data = narrow<int>(p.parallel.data),
          .pipeline = narrow<int>(p.parallel.pipeline)};
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
  result.memory_bytes = state_bytes(p) + activation_bytes(p) + result.library_bytes;
  result.fits = room.free_bytes == 0 || result.memory_bytes <= room.free_bytes;
  return result;
}

std::int64_t LayoutMemory::state_bytes(const config::Parameters& p) {
  const auto [known, is_new] = states_.try_emplace(
      {p.parallel.tensor, p.parallel.data, p.parallel.zero_stage, p.parallel.sequence_parallel}, 0);
  if (is_new) {
    const parallel::GridShape shape = shape_of(p);
    for (const int rank : parallel::corner_ranks(shape)) {
      const TrainingMemory plan = TrainingMemory::planned(
          p, {shape, rank}, backend_of(hardware_), narrow<int>(hardware_.compute_capability));
      std::int64_t bytes = plan.weight_arena.used_bytes() + plan.gradient_arena.used_bytes() +
                           plan.optimizer_arena.used_bytes();
      if (backend_of(hardware_) == device::Backend::host) bytes += save_copy_bytes(p, plan);
      known->second = std::max(known->second, bytes);
    }
  }
  return known->second;
}

std::int64_t LayoutMemory::activation_bytes(const config::Parameters& p) {
  const auto [known, is_new] =
      activations_.try_emplace({p.parallel.tensor, p.training.micro_batch_size, p.memory.recompute,
                                p.parallel.sequence_parallel},
                               0);
  if (is_new) {
    const TrainingMemory plan = TrainingMemory::planned(p, {shape_of(p), 0}, backend_of(hardware_),
                                                        narrow<int>(hardware_.compute_capability));
    known->second = plan.activation_arena.used_bytes() + plan.context_bytes();
  }
  return known->second;
}

}  // namespace espalier::plan
