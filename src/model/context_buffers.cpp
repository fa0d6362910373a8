#include "model/context_buffers.hpp"

#include "base/integers.hpp"
#include "model/activations.hpp"

namespace espalier::model {
namespace {

/// Keys and values of so many heads, (B*S, C).
std::int64_t elements_of(const LocalSizes& sizes, const ActivationShape& shape,
                         std::int64_t num_heads) {
  return shape.micro_batch_size * shape.sequence_length * 2 * num_heads * sizes.head_dim;
}

}  // namespace

ContextInputs::ContextInputs(const parallel::ContextBlocks& blocks, device::Arena& arena)
    : block_starts(arena.allocate("block starts", DType::i32, blocks.num_sequences,
                                  blocks.blocks_per_rank())),
      row_of_token(arena.allocate("row of each token", DType::i32, 1, blocks.tokens())),
      token_of_row(arena.allocate("token of each row", DType::i32, 1, blocks.tokens())) {}

ContextScratch::ContextScratch(const LocalSizes& sizes, const ActivationShape& shape, DType dtype,
                               device::Arena& arena) {
  const std::int64_t tokens = context_blocks(shape).tokens();
  const std::int64_t cols = 2 * shape.kv_heads_at_a_time * sizes.head_dim;
  of_ranks = arena.allocate("keys and values, by rank", dtype, tokens, cols);
  of_tokens = arena.allocate("keys and values", dtype, tokens, cols);
  if (!shape.training) return;
  d_of_ranks = arena.allocate("d of keys and values, by rank", DType::f32, tokens, cols);
  d_of_tokens = arena.allocate("d of keys and values", DType::f32, tokens, cols);
}

parallel::ContextBlocks context_blocks(const ActivationShape& shape) {
  return {
      .num_ranks = shape.context_size,
      .num_sequences = shape.micro_batch_size,
      .sequence_length = shape.sequence_length,
      .block_length = parallel::context_block_length(shape.sequence_length, shape.context_size)};
}

std::int64_t usual_kv_heads(const LocalSizes& sizes, const ActivationShape& shape, DType dtype) {
  constexpr std::int64_t kMostBytes = std::int64_t{1} << 30;
  const auto element =
      static_cast<std::int64_t>(2 * (size_of(dtype) + (shape.training ? sizeof(float) : 0)));
  std::int64_t count = shape.on_gpu ? div_ceil(sizes.num_kv_heads, 4) : sizes.num_kv_heads;
  while (count > 1 && (sizes.num_kv_heads % count != 0 ||
                       elements_of(sizes, shape, count) * element > kMostBytes))
    --count;
  return count;
}

}  // namespace espalier::model
