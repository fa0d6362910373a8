#pragma once
#include <cstdint>

#include "base/dtype.hpp"
#include "device/arena.hpp"
#include "model/local_sizes.hpp"
#include "parallel/layout/context_blocks.hpp"

// What a rank of a context group needs to attend to the keys of whole sequences.

namespace espalier::model {

struct ActivationShape;

/// Consecutive key and value heads of a rank whose attention is computed together, and the query
/// heads that read them.
struct KvHeads {
  std::int64_t first, count;
};

/// Which tokens of a micro-batch's sequences the rank has (parallel::block_starts), where the
/// operators run.
struct ContextInputs {
  device::View block_starts;  ///< (B, S_loc / block_length) i32
  /// (1, B*S) i32 each: parallel::ContextOrder
  device::View row_of_token, token_of_row;

  ContextInputs() = default;
  ContextInputs(const parallel::ContextBlocks& blocks, device::Arena& arena);
};

/// Keys beside values of KvHeads, n of them: C = 2 n D columns, keys first.
struct ContextScratch {
  device::View of_ranks;    ///< (B*S, C) as the ranks have the tokens; a rank's own are its rows
  device::View of_tokens;   ///< (B*S, C) as the sequences have them
  device::View d_of_ranks;  ///< (B*S, C) f32 gradients
  device::View d_of_tokens;

  ContextScratch() = default;
  ContextScratch(const LocalSizes& sizes, const ActivationShape& shape, DType dtype,
                 device::Arena& arena);
  bool exists() const { return of_ranks.exists(); }
};

/// The blocks of the shape's sequences; of block_length 0 where they cannot be divided.
parallel::ContextBlocks context_blocks(const ActivationShape& shape);

/// Of the rank's K_loc heads, those that are gathered at a time by default: a divisor of K_loc that
/// keeps ContextScratch within 1 GiB, or one. On a GPU at most a quarter, so that most of them
/// travel beside attention.
std::int64_t usual_kv_heads(const LocalSizes& sizes, const ActivationShape& shape, DType dtype);

}  // namespace espalier::model
