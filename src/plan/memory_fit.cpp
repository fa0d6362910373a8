#include "plan/memory_fit.hpp"

#include <algorithm>
#include <optional>

#include "base/integers.hpp"
#include "base/text.hpp"

namespace espalier::plan {

namespace {

std::string human(std::int64_t bytes) {
  return human_bytes(static_cast<double>(bytes));
}

/// What rank `rank` needs with other parameters; none when they do not resolve on their grid.
std::optional<std::int64_t> total_with(config::Parameters p, int rank, const Room& room) {
  const parallel::GridShape shape{.tensor = static_cast<int>(p.parallel.tensor),
                                  .context = static_cast<int>(p.parallel.context),
                                  .data = static_cast<int>(p.parallel.data),
                                  .pipeline = static_cast<int>(p.parallel.pipeline)};
  try {
    config::resolve(p, shape.size(), config::Use::bench);  // asks for no data
  } catch (const Error&) {
    return std::nullopt;
  }
  return TrainingMemory::planned(p, {shape, rank}, room.backend, room.compute_capability)
             .total_bytes() +
         library_bytes(p, shape, room);
}

}  // namespace

std::int64_t library_bytes(const config::Parameters& p, const parallel::GridShape& shape,
                           const Room& room) {
  if (room.backend != device::Backend::cuda) return 0;
  constexpr std::int64_t kMiB = 1 << 20;
  std::int64_t bytes = 256 * kMiB;
  if (!room.has_context) bytes += 512 * kMiB;
  // A rank receives through buffers of each protocol, per channel: Simple 4 MiB, LL 8 lines of 16
  // bytes for 512 threads, LL128 120 words for 640 threads, the latter two for 8 steps.
  constexpr std::int64_t kChannels = 32;
  constexpr std::int64_t kConnection =
      4 * kMiB + std::int64_t{8} * 512 * 8 * 16 + std::int64_t{120} * 640 * 8 * 8;
  const parallel::ProcessGrid grid(shape, 0,
                                   parallel::views_of(p.model.num_key_value_heads, shape));
  std::vector<parallel::Span> spans;
  for (const parallel::TensorSpec& spec :
       model::tensor_table(model::Architecture::from(p.model), p.parallel.sequence_parallel))
    spans.push_back(spec.gradient_span);
  std::int64_t communicators = std::ssize(parallel::distinct_groups(grid, spans));
  if (shape.tensor > 1) communicators += p.parallel.overlap_tensor ? 2 : 1;
  return p.device.communicator == "mpi" ? bytes : bytes + communicators * kChannels * kConnection;
}

std::vector<Alternative> alternatives(const config::Parameters& parameters,
                                      const parallel::ProcessGrid& grid, const Room& room) {
  std::vector<Alternative> result;
  const auto total = [&](const config::Parameters& p) { return total_with(p, grid.rank(), room); };
  const auto add = [&](const std::string& change, const config::Parameters& p) {
    if (const auto bytes = total(p)) result.push_back({change, *bytes});
  };
  if (parameters.parallel.zero_stage == 0 && grid.shape().data > 1) {
    config::Parameters p = parameters;
    p.parallel.zero_stage = 1;
    add("parallel.zero_stage = 1", p);
  }
  config::Parameters smallest = parameters;
  for (const char* mode : {"selective", "mlp", "full"}) {
    if (model::recompute_from_name(mode) <= model::recompute_from_name(parameters.memory.recompute))
      continue;
    config::Parameters p = parameters;
    p.memory.recompute = smallest.memory.recompute = mode;
    add(fmt::format("memory.recompute = \"{}\"", mode), p);
  }
  /// Of these the first that fits, else the last.
  const auto add_first = [&](const std::vector<Alternative>& candidates) {
    if (candidates.empty()) return;
    const auto fitting =
        std::find_if(candidates.begin(), candidates.end(),
                     [&](const Alternative& a) { return a.total_bytes <= room.free_bytes; });
    result.push_back(fitting != candidates.end() ? *fitting : candidates.back());
  };
  const auto micro_batches = [&](config::Parameters p, const std::string& beside) {
    std::vector<Alternative> candidates;
    while (--p.training.micro_batch_size > 0)
      if (const auto bytes = total(p))
        candidates.push_back(
            {fmt::format("training.micro_batch_size = {}{}", p.training.micro_batch_size, beside),
             *bytes});
    return candidates;
  };
  add_first(micro_batches(parameters, ""));
  if (smallest.memory.recompute != parameters.memory.recompute)
    add_first(micro_batches(smallest, " with memory.recompute = \"full\""));

  std::vector<Alternative> tensor_sizes;
  for (config::Parameters p = parameters; p.parallel.tensor <= 64;) {
    p.parallel.tensor *= 2;
    // As many ranks as there are while the data axis can give some, more ranks after that.
    if (p.parallel.data % 2 == 0) p.parallel.data /= 2;
    if (const auto bytes = total_with(p, 0, room))
      tensor_sizes.push_back({fmt::format("parallel.tensor = {} on {} ranks", p.parallel.tensor,
                                          p.parallel.tensor * p.parallel.data),
                              *bytes});
  }
  add_first(tensor_sizes);
  return result;
}

Room room_of(const device::Gpu& gpu, std::int64_t taken_bytes) {
  return {.backend = gpu.backend(),
          .free_bytes = gpu.free_bytes() + taken_bytes,
          .whose = fmt::format("GPU {} ({}) has {} free of {}", gpu.ordinal(),
                               gpu.description().name, human(gpu.free_bytes() + taken_bytes),
                               human(gpu.description().memory_bytes)),
          .compute_capability = gpu.description().compute_capability};
}

Room room_of(const config::DeviceParameters& parameters) {
  const double gib = parameters.memory_gib;
  return {.backend = device::Backend::cuda,
          .free_bytes = static_cast<std::int64_t>(gib * static_cast<double>(std::int64_t{1} << 30)),
          .whose = fmt::format("device.memory_gib = {}", gib),
          .compute_capability = narrow<int>(parameters.compute_capability),
          .has_context = false};
}

std::string why_not_fitting(const config::Parameters& parameters, const parallel::ProcessGrid& grid,
                            const Room& room) {
  const TrainingMemory plan =
      TrainingMemory::planned(parameters, grid, room.backend, room.compute_capability);
  const std::int64_t libraries = library_bytes(parameters, grid.shape(), room);
  if (plan.total_bytes() + libraries <= room.free_bytes) return {};
  std::string text = fmt::format("rank {} needs {}, but {}:\n", grid.rank(),
                                 human(plan.total_bytes() + libraries), room.whose);
  for (const TrainingMemory::Line& line : plan.lines())
    text += fmt::format("  {:<17} {:>12}\n", line.name, human(line.bytes));
  if (libraries > 0) text += fmt::format("  {:<17} {:>12}\n", "CUDA and NCCL", human(libraries));
  text += "what would help:";
  for (const Alternative& a : alternatives(parameters, grid, room))
    text += fmt::format("\n  {:<58} {:>12}{}", a.change, human(a.total_bytes),
                        a.total_bytes <= room.free_bytes ? "   fits" : "");
  return text;
}

std::string describe_fit(const config::Parameters& parameters, const parallel::GridShape& shape,
                         const Room& room) {
  int largest_rank = 0;
  std::int64_t largest = 0;
  for (const int rank : parallel::corner_ranks(shape)) {
    const std::int64_t total =
        TrainingMemory::planned(parameters, {shape, rank}, room.backend, room.compute_capability)
            .total_bytes();
    if (total > largest) largest_rank = rank;
    largest = std::max(largest, total);
  }
  const std::string why = why_not_fitting(parameters, {shape, largest_rank}, room);
  if (!why.empty()) return "does not fit: " + why;
  const std::int64_t libraries = library_bytes(parameters, shape, room);
  return fmt::format("fits: {}, a rank needs at most {}, of which about {} for CUDA and NCCL",
                     room.whose, human(largest + libraries), human(libraries));
}

}  // namespace espalier::plan
