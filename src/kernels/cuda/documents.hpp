#pragma once
// Attention inside documents.
#include "kernels/cuda/threads.hpp"

namespace espalier::kernels::ESPALIER_GPU {

/// Of numbers that never fall, the first of list[begin .. end - 1] that is `bound` or more; `end`
/// when there is none. By all lanes of a warp: each looks at the beginning of one stretch of 32, so
/// that thousands of numbers take three rounds and not one load after the other.
ESPALIER_DEVICE int first_not_below(const std::int32_t* list, int begin, int end, int bound) {
  while (begin < end) {
    const int stretch = (end - begin + kWarpSize - 1) / kWarpSize;
    const int mine = begin + lane() * stretch;
    const bool below = mine < end && read_element(list + mine) < bound;
    const int num_below = warp_sum(below ? 1 : 0);
    if (num_below == 0) return begin;
    const int after = begin + num_below * stretch;
    begin = after - stretch + 1;
    if (after < end) end = after;
  }
  return begin;
}

/// Where the queries of sequence b that see a key before `last` end; all of them from `first` on
/// are behind the keys in question. document_start as AttentionForward's: nullptr, or never falling
/// along a sequence. By all lanes of a warp.
ESPALIER_DEVICE int end_of_queries(const std::int32_t* document_start, int b, int length, int first,
                                   int last) {
  if (document_start == nullptr) return length;
  return first_not_below(document_start + static_cast<std::int64_t>(b) * length, first, length,
                         last);
}

}  // namespace espalier::kernels::ESPALIER_GPU
