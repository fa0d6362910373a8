#include "plan/memory_purposes.hpp"

namespace espalier::plan {

std::vector<MemoryPurpose> memory_purposes(const config::Parameters& p,
                                           const parallel::ProcessGrid& grid, const Room& room) {
  using Kind = MemoryPurpose::Kind;
  const TrainingMemory memory =
      TrainingMemory::planned(p, grid, room.backend, room.compute_capability);
  const bool on_host = room.backend == device::Backend::host;
  std::vector<MemoryPurpose> purposes;
  const auto add = [&](std::string name, std::int64_t bytes, Kind kind) {
    if (bytes > 0) purposes.push_back({std::move(name), bytes, kind});
  };
  const auto add_parts = [&](const device::Arena& arena) {
    for (const device::Arena::Part& part : arena.parts())
      add(part.name.empty() ? arena.name() : part.name, part.bytes, Kind::planned);
  };
  add_parts(memory.weight_arena);
  add_parts(memory.gradient_arena);
  add_parts(memory.optimizer_arena);
  add_parts(memory.activation_arena);
  for (const TrainingMemory::Line& line : memory.workspace_lines())
    add(line.name, line.bytes, Kind::planned);
  for (const TrainingMemory::Line& line : library_lines(p, grid.shape(), room))
    add(line.name, line.bytes, Kind::guess);
  if (!on_host) add("pinned for copies", memory.pinned_bytes(), Kind::beside);
  add("copies for saves, at most", save_copy_bytes(p, memory),
      on_host ? Kind::guess : Kind::beside);
  return purposes;
}

std::array<double, model::kNumRecomputeModes> kept_bytes_per_token(
    const config::Parameters& parameters, const parallel::ProcessGrid& grid, const Room& room) {
  const TrainingMemory memory =
      TrainingMemory::planned(parameters, grid, room.backend, room.compute_capability);
  const model::ActivationShape& shape = memory.activations->shape;
  std::array<double, model::kNumRecomputeModes> bytes{};
  const model::LocalSizes& sizes = memory.weights->sizes();
  for (std::size_t mode = 0; mode < bytes.size(); ++mode) {
    std::int64_t sum = 0;
    for (std::int64_t layer = 0; layer < sizes.num_layers; ++layer)
      sum +=
          model::block_bytes(sizes, shape, memory.dtype, static_cast<model::Recompute>(mode), layer)
              .kept;
    bytes[mode] = static_cast<double>(sum) / static_cast<double>(sizes.num_layers) /
                  static_cast<double>(shape.tokens());  // a mean over the blocks
  }
  return bytes;
}

}  // namespace espalier::plan
