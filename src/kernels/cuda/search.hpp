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

}  // namespace espalier::kernels::ESPALIER_GPU
