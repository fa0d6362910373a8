#pragma once
// Search in ascending values of device memory.
#include "kernels/cuda/port.hpp"

namespace espalier::kernels::ESPALIER_GPU {

/// How many of the ascending values first .. last - 1 are below `limit`.
template <class T>
ESPALIER_DEVICE int count_below(const T* values, int first, int last, T limit) {
  const int begin = first;
  while (first < last) {
    const int middle = first + (last - first) / 2;
    if (read_element(values + middle) < limit)
      first = middle + 1;
    else
      last = middle;
  }
  return first - begin;
}

/// The queries of sequence b that see a key of first .. last - 1 begin with `first`; this is where
/// they end. first_keys as AttentionForward's: nullptr, or never falling along a sequence.
ESPALIER_DEVICE int end_of_queries(const std::int32_t* first_keys, int b, int length, int first,
                                   int last) {
  if (first_keys == nullptr) return length;
  const std::int32_t* of_sequence = first_keys + static_cast<std::int64_t>(b) * length;
  return first + count_below(of_sequence, first, length, static_cast<std::int32_t>(last));
}

}  // namespace espalier::kernels::ESPALIER_GPU
