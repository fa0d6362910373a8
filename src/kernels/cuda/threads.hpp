#pragma once
// Sums and maxima over the threads of a warp or a block, always in the same order.
#include "kernels/cuda/port.hpp"

namespace espalier::kernels::ESPALIER_GPU {

constexpr int kMaxWarps = 32;

/// By a mask, because the compiler does not know that thread_index() is not negative: with % the
/// addresses of attention take fifty registers more.
ESPALIER_DEVICE int lane() {
  return thread_index() & (kWarpSize - 1);
}
ESPALIER_DEVICE int warp() {
  return thread_index() / kWarpSize;
}
ESPALIER_DEVICE int num_warps() {
  return num_threads() / kWarpSize;
}

/// The sum over aligned groups of `width` lanes, in every lane. A butterfly adds the same pairs in
/// every lane: all get the same bits.
template <class T>
ESPALIER_DEVICE T group_sum(T value, int width) {
  for (int mask = width / 2; mask > 0; mask /= 2) value += shuffle_xor(value, mask);
  return value;
}
template <class T>
ESPALIER_DEVICE T warp_sum(T value) {
  return group_sum(value, kWarpSize);
}

ESPALIER_DEVICE float warp_max(float value) {
  for (int mask = kWarpSize / 2; mask > 0; mask /= 2)
    value = fmaxf(value, shuffle_xor(value, mask));
  return value;
}

/// The sum over the block, in every thread. `partials` holds num_warps() elements; between two uses
/// of one array all threads must have met, as they do in a block_sum with another array.
template <class T>
ESPALIER_DEVICE T block_sum(T value, const SharedArray<T>& partials) {
  value = warp_sum(value);
  if (lane() == 0) partials.set(warp(), value);
  block_barrier();
  T sum = partials.get(0);
  for (int i = 1; i < num_warps(); ++i) sum += partials.get(i);
  return sum;
}

}  // namespace espalier::kernels::ESPALIER_GPU
