// The grid against the model and the job.
#include <algorithm>

#include "config/experts.hpp"
#include "config/grid.hpp"
#include "config/problems.hpp"
#include "parallel/layout/shard_map.hpp"
#include "parallel/schedule/schedule.hpp"

namespace espalier::config {
namespace {

/// Which of the model's sizes a tensor-parallel size does not fit; empty: it fits.
std::string tensor_misfit(const ModelParameters& m, std::int64_t tensor) {
  using parallel::divides;
  using parallel::ShardRule;
  if (!divides(ShardRule::rows, m.num_attention_heads, tensor))
    return fmt::format("model.num_attention_heads = {}", m.num_attention_heads);
  if (!divides(ShardRule::kv_rows, m.num_key_value_heads, tensor))
    return fmt::format("model.num_key_value_heads = {}", m.num_key_value_heads);
  if (has_dense_blocks(m) && !divides(ShardRule::rows, m.intermediate_size, tensor))
    return fmt::format("model.intermediate_size = {}", m.intermediate_size);
  // Vocabulary rows are padded to a multiple; a rank with padding alone would have no logits.
  if (!divides(ShardRule::vocab_rows, m.vocab_size, tensor))
    return fmt::format("model.vocab_size = {}", m.vocab_size);
  return {};
}

/// Tensor-parallel sizes up to `limit` that divide `num_ranks` (0: whatever number) and fit the
/// model.
std::vector<std::int64_t> tensor_sizes(const Parameters& p, bool has_model, std::int64_t num_ranks,
                                       std::int64_t limit) {
  std::vector<std::int64_t> sizes;
  const std::int64_t others = p.parallel.context * p.parallel.pipeline;
  for (std::int64_t size = 1; size <= std::min<std::int64_t>(limit, 65536); ++size)
    if (num_ranks % (size * others) == 0 && (!has_model || tensor_misfit(p.model, size).empty()))
      sizes.push_back(size);
  return sizes;
}

/// Pipeline sizes that divide `num_ranks` beside the other axes and have a stage for every rank.
std::vector<std::int64_t> pipeline_sizes(const Parameters& p, bool has_model,
                                         std::int64_t num_ranks) {
  std::vector<std::int64_t> sizes;
  const std::int64_t others = p.parallel.context * p.parallel.tensor;
  const std::int64_t most = has_model ? p.model.num_hidden_layers + 2 : num_ranks;
  for (std::int64_t size = 1; size <= std::min(most, num_ranks); ++size)
    if (num_ranks % (size * others) == 0) sizes.push_back(size);
  return sizes;
}

/// Context-parallel sizes that divide `num_ranks` beside the other axes, and the sequences.
std::vector<std::int64_t> context_sizes(const Parameters& p, std::int64_t num_ranks) {
  std::vector<std::int64_t> sizes;
  const std::int64_t others = p.parallel.tensor * p.parallel.pipeline;
  for (std::int64_t size = 1; size <= num_ranks; ++size)
    if (num_ranks % (size * others) == 0 && p.training.sequence_length % size == 0)
      sizes.push_back(size);
  return sizes;
}

/// "parallel.tensor = 2 x parallel.pipeline = 4"; an axis of one rank is left out, but not tensor.
std::string describe_axes(const ParallelParameters& grid, bool with_data) {
  std::string text = fmt::format("parallel.tensor = {}", grid.tensor);
  if (grid.context > 1) text += fmt::format(" x parallel.context = {}", grid.context);
  if (grid.pipeline > 1) text += fmt::format(" x parallel.pipeline = {}", grid.pipeline);
  if (with_data) text += fmt::format(" x parallel.data = {}", grid.data);
  return text;
}

/// What of tensor, context and pipeline would fit the job's ranks, each beside the others as they
/// are.
std::string fitting_axes(const Parameters& p, bool has_model, std::int64_t num_ranks) {
  std::string text;
  const auto add = [&](const char* name, const std::vector<std::int64_t>& sizes) {
    if (sizes.empty()) return;
    text += fmt::format("{}{}{}", text.empty() ? "" : ", or ", name, either(sizes));
  };
  const bool has_pipeline = p.parallel.pipeline > 1, has_context = p.parallel.context > 1;
  add(has_pipeline || has_context ? "parallel.tensor = " : "",
      tensor_sizes(p, has_model, num_ranks, num_ranks));
  if (has_context) add("parallel.context = ", context_sizes(p, num_ranks));
  if (has_pipeline) add("parallel.pipeline = ", pipeline_sizes(p, has_model, num_ranks));
  return text;
}

}  // namespace

bool resolve_grid(Parameters& p, bool has_model, std::int64_t num_ranks, Problems& problems) {
  ParallelParameters& grid = p.parallel;
  const std::int64_t without_data = grid.tensor * grid.context * grid.pipeline;
  const std::string job = num_ranks == 1 ? "1 rank" : fmt::format("{} ranks", num_ranks);

  if (has_model)
    if (const std::string misfit = tensor_misfit(p.model, grid.tensor); !misfit.empty()) {
      problems.add("parallel.tensor = {} does not fit {}: sizes that fit the model are {}",
                   grid.tensor, misfit,
                   either(tensor_sizes(p, has_model, 0, p.model.num_attention_heads)));
      return false;
    }

  const std::string fits = fitting_axes(p, has_model, num_ranks);
  if (grid.data == 0) {
    if (num_ranks % without_data != 0) {
      problems.add("{} does not divide the job's {}: {}start a multiple of {} ranks",
                   describe_axes(grid, /*with_data=*/false), job,
                   fits.empty() ? "" : fmt::format("use {}, or ", fits), without_data);
      return false;
    }
    grid.data = num_ranks / without_data;
  } else if (without_data * grid.data != num_ranks) {
    const std::int64_t needed = without_data * grid.data;
    const std::string alternative =
        num_ranks % without_data == 0
            ? fmt::format("set parallel.data = {} (0: the ranks left over)",
                          num_ranks / without_data)
            : fmt::format("set parallel.data = 0 and {}{}",
                          grid.pipeline > 1 || grid.context > 1 ? "" : "parallel.tensor to ", fits);
    problems.add("{} needs {} ranks, the job has {}: start {} ranks, or {}",
                 describe_axes(grid, /*with_data=*/true), needed, num_ranks, needed, alternative);
    return false;
  }
  return !has_model || check_expert_ranks(p, problems);
}

void check_pipeline(const Parameters& p, bool has_model, Problems& problems) {
  const ParallelParameters& grid = p.parallel;
  if (grid.pipeline == 1) return;  // its other keys are those of a pipeline
  const auto names = pipeline::schedule_names();
  if (std::find(names.begin(), names.end(), grid.schedule) == names.end()) return;  // said before
  const pipeline::ScheduleKind kind = pipeline::schedule_from_name(grid.schedule);
  const std::int64_t chunks = num_chunks(grid);
  const std::int64_t stages = grid.pipeline * chunks;
  const std::string of_stages =
      chunks == 1 ? fmt::format("parallel.pipeline = {} has {} stages", grid.pipeline, stages)
                  : fmt::format("parallel.pipeline = {} with {} chunks on each rank has {} stages",
                                grid.pipeline, chunks, stages);
  const std::int64_t layers = p.model.num_hidden_layers;
  if (has_model && stages > layers + 2)
    problems.add(
        "{}, more than the {} blocks of the model with embedding and LM head, {}: use a "
        "parallel.pipeline{} of at most {}",
        of_stages, layers, layers + 2, chunks == 1 ? "" : " x parallel.chunks", layers + 2);
  if (!grid.stage_layers.empty()) {
    std::int64_t sum = 0;
    for (const std::int64_t number : grid.stage_layers) sum += number;
    if (std::ssize(grid.stage_layers) != stages)
      problems.add("parallel.stage_layers names {} stage{}, but {}: name each, or leave it empty",
                   grid.stage_layers.size(), grid.stage_layers.size() == 1 ? "" : "s", of_stages);
    else if (has_model && sum != layers)
      problems.add(
          "parallel.stage_layers adds up to {} blocks, but model.num_hidden_layers = {}: give each "
          "block to one stage, or leave it empty",
          sum, layers);
  }
  const std::int64_t unit = p.training.micro_batch_size * std::max<std::int64_t>(grid.data, 1);
  if (unit <= 0 || p.training.global_batch_size % unit != 0) return;
  const std::int64_t micro_batches = p.training.global_batch_size / unit;
  constexpr std::int64_t kMost = 1 << 30;
  if (grid.pipeline > kMost || micro_batches > kMost || chunks > kMost) return;
  const pipeline::Misfit misfit =
      pipeline::misfit_of(kind, {.ranks = static_cast<int>(grid.pipeline),
                                 .micro_batches = static_cast<int>(micro_batches),
                                 .chunks = static_cast<int>(chunks)});
  if (!misfit.chunks.empty()) problems.add("parallel.chunks = {}: {}", grid.chunks, misfit.chunks);
  if (!misfit.micro_batches.empty())
    problems.add(
        "parallel.schedule = \"{}\": {}, and training.global_batch_size = {} is {} for each data "
        "rank, of training.micro_batch_size = {} x parallel.data = {}",
        grid.schedule, misfit.micro_batches, p.training.global_batch_size, micro_batches,
        p.training.micro_batch_size, grid.data);
}

}  // namespace espalier::config
