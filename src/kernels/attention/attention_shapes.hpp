#pragma once
// What the host's attention derives from a shape alone: the same at every SIMD level.
#include <cstdint>

#include "kernels/attention/attention.hpp"

namespace espalier::kernels::host {

/// Query rows of a tile, one per vector lane, and keys of a block. 64 x 64 scores of fp32 fill half
/// of a first-level cache of 32 KiB.
constexpr std::int64_t kTileRows = 64;
constexpr std::int64_t kKeyBlock = 64;

/// Tiles of one kv head of one sequence.
std::int64_t num_tiles(const AttentionShape& s);

/// The sequence is cut into this many sets of query tiles, each with its own partial dk and dv, so
/// that a few heads still occupy a machine. A function of the shape only: the same sums for any
/// number of threads.
std::int64_t num_splits(const AttentionShape& s);

/// D rounded up to whole vectors of any level: the distance between rows of a partial dk or dv.
std::int64_t partial_stride(const AttentionShape& s);

/// The position of a query of a sequence. `block_starts`: of that sequence, or null.
inline std::int64_t position_of(const AttentionShape& s, const std::int32_t* block_starts,
                                std::int64_t query) {
  return block_starts == nullptr ? s.first_query_position + query
                                 : block_starts[query / s.block_length] + query % s.block_length;
}

/// The starts of the blocks of sequence `b`, or null where there are none.
inline const std::int32_t* block_starts_of_sequence(const device::ConstView& block_starts,
                                                    const AttentionShape& s, std::int64_t b) {
  return s.block_length == 0
             ? nullptr
             : block_starts.as<std::int32_t>() + b * (s.query_length / s.block_length);
}

/// Throws Error (internal) when views do not fit the shape.
void check_attention_shapes(const AttentionShape& s, const device::ConstView& q,
                            const device::ConstView& k, const device::ConstView& v,
                            const device::ConstView& o, const device::ConstView& lse);

/// A value out of place would leave a row without keys, whose output is NaN, or let it see another
/// document: found here once, not in every tile.
void check_document_start(const AttentionShape& s, const device::ConstView& document_start,
                          const device::ConstView& block_starts);

/// A block out of place would read keys that are not there.
void check_block_starts(const AttentionShape& s, const device::ConstView& block_starts);

}  // namespace espalier::kernels::host

namespace espalier::kernels {

/// f32 scratch of the backward pass by warpgroups in five products, in elements: delta, then the
/// sums of dQ in whole tiles of queries (B * A_loc, tiles, tile, D), then i32 counts, one of the
/// blocks and one for each of these tiles.
struct OrderedScratch {
  std::int64_t sums, counts, num_elements;
};
OrderedScratch ordered_scratch(const AttentionShape& s);

}  // namespace espalier::kernels
