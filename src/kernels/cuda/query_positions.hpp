#pragma once
// Where queries stand in their sequence: one after the other, or in blocks of which a
// context-parallel rank has some.
#include "base/integers.hpp"
#include "kernels/cuda/documents.hpp"

namespace espalier::kernels::ESPALIER_GPU {

struct QueryPositions {
  const std::int32_t* block_starts;  ///< AttentionForward::block_starts; nullptr: no blocks
  int block_length, num_blocks;      ///< of a sequence
  int first_position;                ///< without blocks, of query 0

  /// Position less row of `query`: the same for all of its tile, because tiles divide blocks. What
  /// is asked for once a tile costs the loops over keys nothing.
  ESPALIER_DEVICE int offset(int b, int query) const {
    if (block_starts == nullptr) return first_position;
    const int block = query / block_length;
    return read_element(block_starts + static_cast<std::int64_t>(b) * num_blocks + block) -
           block * block_length;
  }
  /// The first query of sequence b at `position` or behind it; block_length * num_blocks when there
  /// is none. With blocks alone; by all lanes of a warp.
  ESPALIER_DEVICE int first_query_from(int b, int position) const {
    const std::int32_t* starts = block_starts + static_cast<std::int64_t>(b) * num_blocks;
    const int block = first_not_below(starts, 0, num_blocks, position - block_length + 1);
    const int ahead = block < num_blocks ? position - read_element(starts + block) : 0;
    return block * block_length + (ahead > 0 ? ahead : 0);
  }
};

/// Of a forward or a backward pass.
template <class Pass>
QueryPositions query_positions(const Pass& a) {
  const AttentionShape& s = a.shape;
  if (s.block_length == 0) return {nullptr, 0, 0, narrow<int>(s.first_query_position)};
  return {a.block_starts.template as<std::int32_t>(), narrow<int>(s.block_length),
          narrow<int>(div_exact(s.query_length, s.block_length)), 0};
}

}  // namespace espalier::kernels::ESPALIER_GPU
