#include "parallel/zero.hpp"

namespace espalier::parallel {

Rectangle written_shard(const TensorSpec& spec, const ProcessGrid& grid) {
  return counts_here(spec, grid) ? owned_shard(spec, grid) : Rectangle{};
}

ZeroPartition::ZeroPartition(std::span<const LocalTensor> tensors, const ProcessGrid& grid,
                             int zero_stage)
    : zero_stage_(zero_stage) {
  ESPALIER_ASSERT(zero_stage == 0 || zero_stage == 1, "zero_stage {}", zero_stage);
  const int num_tensor = grid.shape().tensor;
  begins_.reserve(tensors.size());
  for (std::size_t i = 0; i < tensors.size(); ++i) {
    const TensorSpec& spec = *tensors[i].spec;
    ESPALIER_ASSERT(
        spec.shard != ShardRule::kv_rows ||
            kv_replication(spec.num_kv_heads, num_tensor) == grid.views().kv_replication,
        "{}: {} kv heads on a grid with kv replication {}", spec.name, spec.num_kv_heads,
        grid.views().kv_replication);
    const Rectangle held = held_shard(spec, grid);
    ESPALIER_ASSERT(tensors[i].weight.data == nullptr || tensors[i].weight.rows == held.rows(),
                    "{}: weight {} for a shard of {} rows", spec.name,
                    device::describe(tensors[i].weight), held.rows());
    const std::pair division(held.rows(), grid.size_of(spec.gradient_span));
    std::vector<std::int64_t>& begins = divisions_[division];
    if (begins.empty()) begins = even_row_begins(division.first, division.second);
    begins_.push_back(begins);

    OwnedShard shard;
    shard.tensor = static_cast<std::int64_t>(i);
    shard.written = owned_shard(spec, grid);
    shard.rectangle = zero_stage == 0 ? held : shard.written;
    if (shard.rectangle.empty()) continue;
    shard.row_begin = shard.rectangle.row_begin - held.row_begin;
    shard.row_end = shard.rectangle.row_end - held.row_begin;
    shard.writes = !written_shard(spec, grid).empty();
    shards_.push_back(shard);
  }
}

}  // namespace espalier::parallel
