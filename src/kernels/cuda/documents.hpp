#pragma once
// Attention inside documents.
#include "kernels/cuda/search.hpp"

namespace espalier::kernels::ESPALIER_GPU {

/// The queries of sequence b that see a key of first .. last - 1 begin with `first`; this is where
/// they end. first_keys as AttentionForward's: nullptr, or never falling along a sequence.
ESPALIER_DEVICE int end_of_queries(const std::int32_t* first_keys, int b, int length, int first,
                                   int last) {
  if (first_keys == nullptr) return length;
  const std::int32_t* of_sequence = first_keys + static_cast<std::int64_t>(b) * length;
  return first + count_below(of_sequence, first, length, static_cast<std::int32_t>(last));
}

}  // namespace espalier::kernels::ESPALIER_GPU
