#include "parallel/zero.hpp"

namespace espalier::parallel {

Rectangle written_shard(const TensorSpec& spec, const ProcessGrid& grid) {
  const int t = grid.tensor_rank();
  const int num_tensor = grid.shape().tensor;
  // Context ranks hold the same weights; the first of them speaks for all.
  if (!counts_here(spec, t, num_tensor) || grid.context_rank() != 0) return {};
  return owned_shard(spec, t, num_tensor, grid.data_rank(), grid.shape().data);
}

ZeroPartition::ZeroPartition(std::span<const LocalTensor> tensors, const ProcessGrid& grid,
                             int zero_stage)
    : zero_stage_(zero_stage) {
  ESPALIER_ASSERT(zero_stage == 0 || zero_stage == 1, "zero_stage {}", zero_stage);
  const int t = grid.tensor_rank();
  const int num_tensor = grid.shape().tensor;
  const int d = grid.data_rank();
  const int num_data = grid.shape().data;
  begins_.reserve(tensors.size());
  for (std::size_t i = 0; i < tensors.size(); ++i) {
    const TensorSpec& spec = *tensors[i].spec;
    const Rectangle held = tensor_shard(spec, t, num_tensor);
    ESPALIER_ASSERT(tensors[i].weight.data == nullptr || tensors[i].weight.rows == held.rows(),
                    "{}: weight {} for a shard of {} rows", spec.name,
                    device::describe(tensors[i].weight), held.rows());
    begins_.push_back(data_row_begins(held.rows(), num_data));

    OwnedShard shard;
    shard.tensor = static_cast<std::int64_t>(i);
    shard.written = owned_shard(spec, t, num_tensor, d, num_data);
    shard.rectangle = zero_stage == 0 ? held : shard.written;
    if (shard.rectangle.empty()) continue;
    shard.row_begin = shard.rectangle.row_begin - held.row_begin;
    shard.row_end = shard.rectangle.row_end - held.row_begin;
    shard.writes = !written_shard(spec, grid).empty();
    shards_.push_back(shard);
  }
}

}  // namespace espalier::parallel
