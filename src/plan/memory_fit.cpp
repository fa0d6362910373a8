#include "plan/memory_fit.hpp"

#include <algorithm>
#include <numeric>
#include <optional>

#include "base/integers.hpp"
#include "base/text.hpp"
#include "config/grid.hpp"
#include "device/gemm.hpp"
#include "plan/context_sizes.hpp"
#include "plan/recompute_budget.hpp"

namespace espalier::plan {

namespace {

std::string human(std::int64_t bytes) {
  return human_bytes(static_cast<double>(bytes));
}

constexpr int kLargest = -1;

/// What rank `rank`, or the one that needs most, needs with other parameters; none when they do not
/// resolve on their grid.
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
  p = with_recompute_chosen(std::move(p), shape, room);
  if (rank == kLargest) rank = largest_rank(p, shape, room);
  const TrainingMemory memory =
      TrainingMemory::planned(p, {shape, rank}, room.backend, room.compute_capability);
  return needed_bytes(p, shape, memory, room);
}

constexpr std::int64_t kMiB = 1 << 20;
/// Below it the LM head's products become slow (model::usual_loss_chunk).
constexpr std::int64_t kLeastLossChunk = 1024;

std::int64_t loss_chunk(const config::Parameters& p, const parallel::ProcessGrid& grid,
                        const Room& room) {
  const config::Parameters chosen = with_recompute_chosen(p, grid.shape(), room);
  return TrainingMemory::planned(chosen, grid, room.backend, room.compute_capability)
      .activations->shape.loss_chunk_tokens;
}

/// What NCCL takes for exchange_rows in a group of `ranks`. It connects each with every other
/// (src/transport/p2p.cc): of a peer on the same node a channel has 10 MiB for what is received,
/// its three protocols in whole pieces of 2 MiB, and 2 MiB for what is sent. As many channels as
/// NVLink has use for, or few where there is none or the group spans nodes (ncclTopoGetNchannels);
/// peers of other nodes share buffers (src/transport/net.cc): 16 of 128 KiB a channel, each way.
std::int64_t exchange_bytes(std::int64_t ranks, int compute_capability) {
  constexpr std::int64_t kRanksOfNode = 8, kChannels = 32, kFewChannels = 4;
  constexpr std::int64_t kConnection = 12 * kMiB;
  // A6000, L40 and RTX; where it is not known there is NVLink.
  const bool has_nvlink =
      compute_capability != 86 && compute_capability != 89 && compute_capability / 10 != 12;
  const bool spans_nodes = ranks > kRanksOfNode;
  const std::int64_t channels = has_nvlink && !spans_nodes ? kChannels : kFewChannels;
  const std::int64_t of_network = spans_nodes ? kChannels * 2 * 16 * (128 << 10) : 0;
  return (std::min(ranks, kRanksOfNode) - 1) * channels * kConnection + of_network;
}

std::vector<TrainingMemory::Line> host_lines(const config::Parameters& p,
                                             const parallel::GridShape& shape) {
  std::vector<TrainingMemory::Line> lines{{"program and libraries", 64 * kMiB}};
  if (p.training.dtype == "float32") lines.push_back({"scratch of fp32 products", 32 * kMiB});
  if (shape.size() > 1) lines.push_back({"staging of collectives", 16 * kMiB});
  const std::int64_t widened = device::Gemm::host_scratch_bytes(dtype_from_name(p.training.dtype));
  if (widened > 0) lines.push_back({"widened operands", widened});
  return lines;
}

}  // namespace

std::vector<TrainingMemory::Line> library_lines(const config::Parameters& p,
                                                const parallel::GridShape& shape,
                                                const Room& room) {
  if (room.backend == device::Backend::host) return host_lines(p, shape);
  if (room.backend != device::Backend::cuda) return {};
  std::vector<TrainingMemory::Line> lines{
      {"CUDA (a guess)", (room.has_context ? 256 : 256 + 512) * kMiB}};
  // A rank receives through buffers of each protocol, per channel: Simple 4 MiB, LL 8 lines of 16
  // bytes for 512 threads, LL128 120 words for 640 threads, the latter two for 8 steps.
  constexpr std::int64_t kChannels = 32;
  constexpr std::int64_t kConnection =
      4 * kMiB + std::int64_t{8} * 512 * 8 * 16 + std::int64_t{120} * 640 * 8 * 8;
  const parallel::ProcessGrid grid(
      shape, 0,
      parallel::views_of(p.model.num_key_value_heads, shape, narrow<int>(p.parallel.expert)));
  std::vector<parallel::Span> spans;
  for (const parallel::TensorSpec& spec :
       model::tensor_table(model::Architecture::from(p.model), p.parallel.sequence_parallel))
    spans.push_back(spec.gradient_span);
  std::int64_t communicators = std::ssize(parallel::distinct_groups(grid, spans));
  if (shape.pipeline > 1 && p.model.tie_word_embeddings) communicators += 1;
  if (shape.tensor > 1) communicators += p.parallel.overlap_tensor ? 2 : 1;
  if (shape.context > 1) communicators += 1;
  // A link to each neighbour and one from it, for every chunk, of few channels
  // (parallel/comm/nccl_pipeline_link.cpp).
  constexpr std::int64_t kLinkChannels = 4;
  const std::int64_t links = shape.pipeline > 1 ? 4 * config::num_chunks(p.parallel) : 0;
  const std::int64_t exchange =
      p.parallel.expert > 1 ? exchange_bytes(p.parallel.expert, room.compute_capability) : 0;
  const std::int64_t bytes =
      (communicators * kChannels + links * kLinkChannels) * kConnection + exchange;
  if (p.device.communicator != "mpi" && bytes > 0) lines.push_back({"NCCL (a guess)", bytes});
  return lines;
}

std::int64_t library_bytes(const config::Parameters& p, const parallel::GridShape& shape,
                           const Room& room) {
  std::int64_t bytes = 0;
  for (const TrainingMemory::Line& line : library_lines(p, shape, room)) bytes += line.bytes;
  return bytes;
}

bool saves_copy(const config::CheckpointParameters& p) {
  return p.staging == "copy" && (p.interval > 0 || p.interval_minutes > 0.0);
}

std::int64_t save_copy_bytes(const config::Parameters& p, const TrainingMemory& memory) {
  return saves_copy(p.checkpoint) ? memory.optimizer_arena.used_bytes() : 0;
}

std::int64_t needed_bytes(const config::Parameters& p, const parallel::GridShape& shape,
                          const TrainingMemory& memory, const Room& room) {
  const std::int64_t copies =
      room.backend == device::Backend::host ? save_copy_bytes(p, memory) : 0;
  return memory.total_bytes() + library_bytes(p, shape, room) + copies;
}

std::vector<Alternative> alternatives(const config::Parameters& parameters,
                                      const parallel::ProcessGrid& grid, const Room& room) {
  std::vector<Alternative> result;
  const auto total = [&](const config::Parameters& p) { return total_with(p, grid.rank(), room); };
  const auto add = [&](const std::string& change, const config::Parameters& p) {
    if (const auto bytes = total(p)) result.push_back({change, *bytes});
  };
  if (parameters.parallel.zero_stage == 0 && grid.shape().context * grid.shape().data > 1) {
    config::Parameters p = parameters;
    p.parallel.zero_stage = 1;
    add("parallel.zero_stage = 1", p);
  }
  if (room.backend == device::Backend::host && saves_copy(parameters.checkpoint)) {
    config::Parameters p = parameters;
    p.checkpoint.staging = "wait";
    add("checkpoint.staging = \"wait\"", p);
  }
  // "budget" has taken the strongest mode where it does not fit.
  config::Parameters smallest = parameters;
  smallest.memory.recompute = "full";
  smallest.memory.recompute_blocks.clear();
  const bool can_recompute =
      parameters.memory.recompute != "full" &&
      (parameters.memory.recompute != "budget" || !parameters.memory.recompute_blocks.empty());
  if (can_recompute) {
    config::Parameters p = smallest;
    p.memory.recompute = "budget";
    const RecomputeChoice choice = choose_recompute(p, grid.shape(), room);
    p.memory.recompute_blocks.assign(choice.blocks.begin(), choice.blocks.end());
    if (choice.fits)
      add(fmt::format("memory.recompute = \"budget\" ({})", describe_blocks(choice.blocks)), p);
    for (const std::string_view mode : model::kRecomputeNames) {
      if (parameters.memory.recompute == "budget" || mode == "none") continue;
      if (model::recompute_from_name(mode) <=
          model::recompute_from_name(parameters.memory.recompute))
        continue;
      p = smallest;
      p.memory.recompute = mode;
      add(fmt::format("memory.recompute = \"{}\"", mode), p);
    }
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
  // Its cost grows with the head's share of the model: behind the recomputation of blocks.
  if (loss_chunk(parameters, grid, room) > kLeastLossChunk) {
    config::Parameters p = can_recompute ? parameters : smallest;
    p.training.loss_chunk_tokens = kLeastLossChunk;
    add(fmt::format("training.loss_chunk_tokens = {}", kLeastLossChunk), p);
  }
  add_first(micro_batches(can_recompute ? parameters : smallest, ""));
  if (can_recompute) add_first(micro_batches(smallest, " with memory.recompute = \"full\""));

  std::vector<Alternative> tensor_sizes;
  for (config::Parameters p = parameters; p.parallel.tensor <= 64;) {
    p.parallel.tensor *= 2;
    // As many ranks as there are while the data axis can give some, more ranks after that.
    if (p.parallel.data % 2 == 0) p.parallel.data /= 2;
    if (const auto bytes = total_with(p, kLargest, room))
      tensor_sizes.push_back({fmt::format("parallel.tensor = {} on {} ranks", p.parallel.tensor,
                                          p.parallel.tensor * p.parallel.context * p.parallel.data *
                                              p.parallel.pipeline),
                              *bytes});
  }
  add_first(tensor_sizes);

  std::vector<Alternative> contexts;
  for (const std::int64_t size : plan::context_sizes(parameters.training.sequence_length)) {
    config::Parameters p = parameters;
    if (size <= p.parallel.context || size % p.parallel.context != 0) continue;
    // As with tensor ranks.
    p.parallel.data /= std::gcd(p.parallel.data, size / p.parallel.context);
    p.parallel.context = size;
    if (const auto bytes = total_with(p, kLargest, room))
      contexts.push_back({fmt::format("parallel.context = {} on {} ranks", size,
                                      p.parallel.tensor * p.parallel.context * p.parallel.data *
                                          p.parallel.pipeline),
                          *bytes});
  }
  add_first(contexts);

  for (config::Parameters p = parameters; p.parallel.zero_stage > 0 && p.parallel.data <= 512;) {
    p.parallel.data *= 2;
    const auto bytes = total_with(p, kLargest, room);
    if (!bytes || *bytes > room.free_bytes) continue;
    result.push_back({fmt::format("parallel.data = {} on {} ranks", p.parallel.data,
                                  p.parallel.tensor * p.parallel.context * p.parallel.data *
                                      p.parallel.pipeline),
                      *bytes});
    break;
  }
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

Room room_of(const config::Parameters& p, const parallel::ProcessGrid& grid,
             const device::Gpu& gpu) {
  const std::int64_t taken =
      device::Context::workspace_bytes(workspace_elements(p, grid, gpu.backend())) +
      device::Gemm::workspace_bytes(gpu.backend());
  const Room room = room_of(gpu, taken);
  Room allowed = room_of(p.device, gpu.backend());
  allowed.compute_capability = room.compute_capability;
  return p.device.memory_gib > 0.0 && allowed.free_bytes < room.free_bytes ? allowed : room;
}

Room room_of(const config::DeviceParameters& parameters, device::Backend backend) {
  const double gib = std::min(parameters.memory_gib, 8e9);  // more cannot be counted in 64 bits
  return {.backend = backend,
          .free_bytes = static_cast<std::int64_t>(gib * static_cast<double>(std::int64_t{1} << 30)),
          .whose = fmt::format("device.memory_gib = {}", parameters.memory_gib),
          .compute_capability = narrow<int>(parameters.compute_capability),
          .has_context = false};
}

std::string why_not_fitting(const config::Parameters& asked, const parallel::ProcessGrid& grid,
                            const Room& room) {
  const config::Parameters parameters = with_recompute_chosen(asked, grid.shape(), room);
  const TrainingMemory plan =
      TrainingMemory::planned(parameters, grid, room.backend, room.compute_capability);
  const std::int64_t needed = needed_bytes(parameters, grid.shape(), plan, room);
  if (needed <= room.free_bytes) return {};
  std::string text =
      fmt::format("rank {} needs {}, but {}:\n", grid.rank(), human(needed), room.whose);
  for (const TrainingMemory::Line& line : plan.lines())
    text += fmt::format("  {:<17} {:>12}\n", line.name, human(line.bytes));
  const std::int64_t libraries = library_bytes(parameters, grid.shape(), room);
  const bool on_host = room.backend == device::Backend::host;
  if (libraries > 0)
    text +=
        fmt::format("  {:<17} {:>12}\n", on_host ? "program" : "CUDA and NCCL", human(libraries));
  if (const std::int64_t copies = needed - plan.total_bytes() - libraries; copies > 0)
    text += fmt::format("  {:<17} {:>12}\n", "a save's copies", human(copies));
  return text + describe_alternatives(alternatives(asked, grid, room), needed, room);
}

std::string describe_alternatives(const std::vector<Alternative>& list, std::int64_t needed_bytes,
                                  const Room& room) {
  std::size_t width = 58;
  for (const Alternative& a : list) width = std::max(width, a.change.size());
  std::string text =
      fmt::format("what would help:  {:<{}} {:>12} {:>12}", "", width - 16, "then", "saves");
  for (const Alternative& a : list)
    text += fmt::format("\n  {:<{}} {:>12} {:>12}{}", a.change, width, human(a.total_bytes),
                        human(needed_bytes - a.total_bytes),
                        a.total_bytes <= room.free_bytes ? "   fits" : "");
  return text;
}

int largest_rank(const config::Parameters& parameters, const parallel::GridShape& shape,
                 const Room& room) {
  const config::Parameters p = with_recompute_chosen(parameters, shape, room);
  int largest_rank = 0;
  std::int64_t largest = 0;
  for (const int rank : parallel::corner_ranks(shape)) {
    const std::int64_t total =
        TrainingMemory::planned(p, {shape, rank}, room.backend, room.compute_capability)
            .total_bytes();
    if (total > largest) largest_rank = rank;
    largest = std::max(largest, total);
  }
  return largest_rank;
}

std::string describe_fit(const config::Parameters& asked, const parallel::GridShape& shape,
                         const Room& room) {
  const config::Parameters parameters = with_recompute_chosen(asked, shape, room);
  const parallel::ProcessGrid grid(shape, largest_rank(parameters, shape, room));
  const std::string why = why_not_fitting(asked, grid, room);
  if (!why.empty()) return "does not fit: " + why;
  const TrainingMemory plan =
      TrainingMemory::planned(parameters, grid, room.backend, room.compute_capability);
  const std::int64_t beside = needed_bytes(parameters, shape, plan, room) - plan.total_bytes();
  return fmt::format("fits: {}, a rank needs at most {}, of which about {} for {}", room.whose,
                     human(plan.total_bytes() + beside), human(beside),
                     room.backend == device::Backend::host
                         ? "the program and what it copies to save"
                         : "CUDA and NCCL");
}

}  // namespace espalier::plan
