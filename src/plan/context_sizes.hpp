#pragma once
#include <cstdint>
#include <vector>

#include "parallel/layout/context_blocks.hpp"

namespace espalier::plan {

/// The parallel.context that plans ask for where nobody names one, ascending from 1: they divide
/// the sequence in whole blocks of tokens (parallel::context_block_length) and leave each rank
/// 4,096 of them at least. Of shorter sequences data ranks take the place of context ranks, which
/// gather keys and values besides; parallel.context may still be anything that is legal.
inline std::vector<std::int64_t> context_sizes(std::int64_t sequence_length) {
  constexpr std::int64_t kLeastTokens = 4096;
  std::vector<std::int64_t> sizes{1};
  for (std::int64_t size = 2; sequence_length / size >= kLeastTokens; ++size)
    if (sequence_length % (size * parallel::kContextBlockLength) == 0) sizes.push_back(size);
  return sizes;
}

}  // namespace espalier::plan
