#include "plan/recompute_budget.hpp"

#include <algorithm>
#include <limits>
#include <numeric>
#include <vector>

#include "base/integers.hpp"
#include "base/text.hpp"
#include "plan/step_counts.hpp"

namespace espalier::plan {

namespace {

using model::BlocksOfModes;
using model::kNumRecomputeModes;

/// FLOPs of matrix products in the time of a byte. Only mixes are compared with them, and those
/// differ by much more than machines of a class do.
struct Balance {
  double memory;  ///< a byte read or written
  double link;    ///< a byte sent to the tensor or context group
};
/// GPU: an H100 multiplies at 740 TFLOP/s, copies at 3.0 TB/s and sends 0.45 TB/s over NVLink; a
/// B200 at 1745, 6 and 0.9. Host: a core of 200 GFLOP/s in bf16 has about 10 GB/s of memory.
Balance balance_of(device::Backend backend) {
  return backend == device::Backend::host ? Balance{.memory = 20.0, .link = 40.0}
                                          : Balance{.memory = 250.0, .link = 1700.0};
}

BlocksOfModes given_blocks(const config::Parameters& p) {
  BlocksOfModes blocks{};
  for (std::size_t i = 0; i < std::min(blocks.size(), p.memory.recompute_blocks.size()); ++i)
    blocks[i] = p.memory.recompute_blocks[i];
  return blocks;
}

config::Parameters with_mode(config::Parameters p, std::size_t mode) {
  p.memory.recompute = model::kRecomputeNames[mode];
  p.memory.recompute_blocks.clear();
  return p;
}

/// What a rank needs as a function of the blocks' modes.
class NeedOfRank {
 public:
  NeedOfRank(const config::Parameters& p, const parallel::ProcessGrid& grid, const Room& room) {
    const config::Parameters without = with_mode(p, 0);
    const TrainingMemory memory =
        TrainingMemory::planned(without, grid, room.backend, room.compute_capability);
    nothing_recomputed_ = needed_bytes(without, grid.shape(), memory, room);
    for (const model::ChunkActivations& chunk : memory.activations->chunks)
      stages_.push_back(chunk.extent);
    slots_ = memory.program.buffers.slots;
    weight_slots_ = memory.program.buffers.weight_slots;
    const model::LocalSizes& sizes = memory.weights->sizes();
    kept_.resize(static_cast<std::size_t>(sizes.num_layers));
    deferred_.resize(kept_.size());
    for (std::size_t layer = 0; layer < kept_.size(); ++layer)
      for (std::size_t mode = 0; mode < kNumRecomputeModes; ++mode) {
        // Blocks differ in nothing but whether they have experts.
        const auto alike = std::find(sizes.sparse_layers.begin(), sizes.sparse_layers.end(),
                                     sizes.sparse_layers[layer]);
        const auto first = static_cast<std::size_t>(alike - sizes.sparse_layers.begin());
        if (first < layer) {
          kept_[layer] = kept_[first];
          deferred_[layer] = deferred_[first];
          break;
        }
        const model::BlockBytes bytes =
            model::block_bytes(sizes, memory.activations->shape, memory.dtype,
                               static_cast<model::Recompute>(mode), narrow<std::int64_t>(layer));
        kept_[layer][mode] = bytes.kept;
        deferred_[layer][mode] = bytes.deferred;
        shared_[mode] = bytes.shared;
      }
  }
  /// `strongest` of the modes that blocks have.
  std::int64_t with(const BlocksOfModes& blocks, std::size_t strongest) const {
    const BlocksOfModes none{std::accumulate(blocks.begin(), blocks.end(), std::int64_t{0})};
    return nothing_recomputed_ + shared_[strongest] -
           slots_ * (largest_stage(none, kept_) - largest_stage(blocks, kept_)) -
           weight_slots_ * (largest_stage(none, deferred_) - largest_stage(blocks, deferred_));
  }

 private:
  /// Of the rank's stages, the bytes of the blocks of the one that has most: so large are slots.
  std::int64_t largest_stage(const BlocksOfModes& blocks,
                             const std::vector<BlocksOfModes>& bytes) const {
    std::int64_t most = 0;
    for (const model::StageExtent& stage : stages_) {
      std::int64_t sum = 0, first = 0;  // of the model's blocks the first ones have weak modes
      for (std::size_t mode = 0; mode < kNumRecomputeModes; ++mode) {
        const std::int64_t begin = std::max(first, stage.first);
        first += blocks[mode];
        for (std::int64_t layer = begin; layer < std::min(first, stage.first + stage.num_layers);
             ++layer)
          sum += bytes[static_cast<std::size_t>(layer)][mode];
      }
      most = std::max(most, sum);
    }
    return most;
  }

  std::int64_t nothing_recomputed_ = 0;
  std::int64_t slots_ = 1, weight_slots_ = 0;
  std::vector<model::StageExtent> stages_;
  std::vector<BlocksOfModes> kept_, deferred_;  ///< of each block of the model
  BlocksOfModes shared_{};
};

/// Calls with every way to give `left` blocks to the modes up to `mode`, few blocks of the strong
/// modes first.
template <class Body>
void for_each_mix(BlocksOfModes& blocks, std::size_t mode, std::int64_t left, const Body& body) {
  if (mode == 0) {
    blocks[0] = left;
    return body(blocks);
  }
  for (blocks[mode] = 0; blocks[mode] <= left; ++blocks[mode])
    for_each_mix(blocks, mode - 1, left - blocks[mode], body);
}

std::size_t strongest_of(const BlocksOfModes& blocks) {
  for (std::size_t mode = kNumRecomputeModes - 1; mode > 0; --mode)
    if (blocks[mode] > 0) return mode;
  return 0;
}

}  // namespace

bool is_budget_open(const config::Parameters& p) {
  return p.memory.recompute == "budget" && p.memory.recompute_blocks.empty();
}

void require_budget(const config::Parameters& p) {
  if (is_budget_open(p) && p.device.memory_gib <= 0.0)
    throw Error(ExitStatus::bad_configuration,
                "memory.recompute = \"budget\" needs to know what memory a rank may take: set "
                "device.memory_gib, in GiB (on a GPU that is there, 0 means what it has free)",
                Met::by_every_rank);
}

std::array<double, kNumRecomputeModes> recompute_costs(const config::Parameters& parameters,
                                                       const parallel::GridShape& shape,
                                                       const Room& room) {
  // Of two blocks the first is recomputed. One data rank and micro-batch show all of it.
  config::Parameters p = parameters;
  p.model.num_hidden_layers = 2;
  p.parallel.data = p.parallel.pipeline = 1;
  // Blocks with experts, where there are some, are the larger ones; two of them.
  p.parallel.expert =
      std::gcd(p.parallel.expert, std::int64_t{shape.tensor} * std::int64_t{shape.context});
  p.model.decoder_sparse_step = 1;
  p.model.mlp_only_layers.clear();
  p.training.global_batch_size = p.training.micro_batch_size;
  const parallel::ProcessGrid grid({.tensor = shape.tensor, .context = shape.context}, 0);
  const Balance balance = balance_of(room.backend);
  std::array<double, kNumRecomputeModes> costs{};
  for (std::size_t mode = 0; mode < kNumRecomputeModes; ++mode) {
    const StepCounts counts =
        count_step(with_mode(p, mode), grid, room.backend, room.compute_capability);
    double cost = balance.link * static_cast<double>(counts.sent_bytes());
    for (const auto& [operation, of] : counts.operations)
      cost += std::max(of.flops, balance.memory * of.bytes);
    costs[mode] = cost;
  }
  for (std::size_t mode = kNumRecomputeModes; mode-- > 0;) costs[mode] -= costs[0];
  return costs;
}

RecomputeChoice choose_recompute(const config::Parameters& parameters,
                                 const parallel::GridShape& shape, const Room& room) {
  const auto costs = recompute_costs(parameters, shape, room);
  std::vector<NeedOfRank> ranks;
  for (const int rank : parallel::corner_ranks(shape))
    ranks.emplace_back(parameters, parallel::ProcessGrid(shape, rank), room);

  RecomputeChoice best{.blocks = {}, .needed_bytes = 0, .fits = false};
  const auto needed = [&](const BlocksOfModes& blocks, std::size_t strongest) {
    std::int64_t most = 0;
    for (const NeedOfRank& rank : ranks) most = std::max(most, rank.with(blocks, strongest));
    return most;
  };
  double best_cost = std::numeric_limits<double>::infinity();
  BlocksOfModes mix{};
  const std::int64_t num_blocks = parameters.model.num_hidden_layers;
  for_each_mix(mix, kNumRecomputeModes - 1, num_blocks, [&](const BlocksOfModes& blocks) {
    const std::size_t strongest = strongest_of(blocks);
    double cost = -costs[strongest];
    for (std::size_t mode = 1; mode < kNumRecomputeModes; ++mode)
      cost += static_cast<double>(blocks[mode]) * costs[mode];
    if (cost > best_cost) return;
    const std::int64_t bytes = needed(blocks, strongest);
    if (bytes > room.free_bytes || (cost == best_cost && bytes >= best.needed_bytes)) return;
    best = {.blocks = blocks, .needed_bytes = bytes, .fits = true};
    best_cost = cost;
  });
  if (best.fits) return best;
  best.blocks[kNumRecomputeModes - 1] = num_blocks;
  best.needed_bytes = needed(best.blocks, kNumRecomputeModes - 1);
  return best;
}

config::Parameters with_recompute_chosen(config::Parameters parameters,
                                         const parallel::GridShape& shape, const Room& room) {
  if (!is_budget_open(parameters)) return parameters;
  const BlocksOfModes blocks = choose_recompute(parameters, shape, room).blocks;
  parameters.memory.recompute_blocks.assign(blocks.begin(), blocks.end());
  return parameters;
}

model::RecomputeMix recompute_mix(const config::Parameters& p, const parallel::GridShape& shape,
                                  device::Backend backend, int compute_capability) {
  if (p.memory.recompute != "budget") return model::recompute_from_name(p.memory.recompute);
  if (!is_budget_open(p)) return model::RecomputeMix(given_blocks(p));
  require_budget(p);
  Room room = room_of(p.device, backend);
  room.compute_capability = compute_capability;
  return model::RecomputeMix(given_blocks(with_recompute_chosen(p, shape, room)));
}

std::string describe_blocks(const BlocksOfModes& blocks) {
  std::string text;
  for (std::size_t mode = 0; mode < blocks.size(); ++mode)
    if (blocks[mode] > 0)
      text += fmt::format("{}{} {}{}", text.empty() ? "" : ", ", blocks[mode],
                          !text.empty()       ? ""
                          : blocks[mode] == 1 ? "block "
                                              : "blocks ",
                          model::kRecomputeNames[mode]);
  return text;
}

std::string describe_recompute(const config::Parameters& p, const parallel::GridShape& shape,
                               const Room& room) {
  if (p.memory.recompute != "budget") return {};
  std::int64_t most = 0;
  for (const int rank : parallel::corner_ranks(shape)) {
    const TrainingMemory memory =
        TrainingMemory::planned(p, {shape, rank}, room.backend, room.compute_capability);
    most = std::max(most, needed_bytes(p, shape, memory, room));
  }
  return fmt::format("recompute: {}: {}, {} of {}", describe_blocks(given_blocks(p)),
                     most <= room.free_bytes ? "fits" : "does not fit",
                     human_bytes(static_cast<double>(most)),
                     human_bytes(static_cast<double>(room.free_bytes)));
}

}  // namespace espalier::plan
