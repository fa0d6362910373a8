// The grid against the model and the job.
#include <algorithm>

#include "config/experts.hpp"
#include "config/problems.hpp"
#include "parallel/layout/shard_map.hpp"

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

  if (grid.data == 0) {
    if (num_ranks % without_data != 0) {
      problems.add(
          "parallel.tensor = {} does not divide the job's {}: use {}, or start a multiple of {} "
          "ranks",
          grid.tensor, job, either(tensor_sizes(p, has_model, num_ranks, num_ranks)), without_data);
      return false;
    }
    grid.data = num_ranks / without_data;
  } else if (without_data * grid.data != num_ranks) {
    const std::int64_t needed = without_data * grid.data;
    const std::string alternative =
        num_ranks % without_data == 0
            ? fmt::format("set parallel.data = {} (0: the ranks left over)",
                          num_ranks / without_data)
            : fmt::format("set parallel.data = 0 and parallel.tensor to {}",
                          either(tensor_sizes(p, has_model, num_ranks, num_ranks)));
    problems.add(
        "parallel.tensor = {} x parallel.data = {} needs {} ranks, the job has {}: "
        "start {} ranks, or {}",
        grid.tensor, grid.data, needed, num_ranks, needed, alternative);
    return false;
  }
  return !has_model || check_expert_ranks(p, problems);
}

}  // namespace espalier::config
