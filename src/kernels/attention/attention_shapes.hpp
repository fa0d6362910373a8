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

/// Throws Error (internal) when views do not fit the shape.
void check_attention_shapes(const AttentionShape& s, const device::ConstView& q,
                            const device::ConstView& k, const device::ConstView& v,
                            const device::ConstView& o, const device::ConstView& lse);

/// A value out of place would leave a row without keys, whose output is NaN, or let it see another
/// document: found here once, not in every tile.
void check_document_start(const AttentionShape& s, const device::ConstView& document_start);

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
