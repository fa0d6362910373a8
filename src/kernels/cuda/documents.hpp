#pragma once
// Attention inside documents.
#include "kernels/cuda/threads.hpp"

namespace espalier::kernels::ESPALIER_GPU {

/// The queries of sequence b that see a key of first .. last - 1 begin with `first`; this is where
/// they end. document_start as AttentionForward's: nullptr, or never falling along a sequence. By
/// all lanes of a warp: each looks at the beginning of one stretch of 32, so that thousands of
/// queries take three rounds and not one load after the other.
ESPALIER_DEVICE int end_of_queries(const std::int32_t* document_start, int b, int length, int first,
                                   int last) {
  if (document_start == nullptr) return length;
  const std::int32_t* of_sequence = document_start + static_cast<std::int64_t>(b) * length;
  int begin = first;  // queries before it see a key, those from `end` on see none
  int end = length;
  while (begin < end) {
    const int stretch = (end - begin + kWarpSize - 1) / kWarpSize;
    const int mine = begin + lane() * stretch;
    const bool sees = mine < end && read_element(of_sequence + mine) < last;
    const int num_seeing = warp_sum(sees ? 1 : 0);
    if (num_seeing == 0) return begin;
    const int after = begin + num_seeing * stretch;
    begin = after - stretch + 1;
    if (after < end) end = after;
  }
  return begin;
}

}  // namespace espalier::kernels::ESPALIER_GPU
