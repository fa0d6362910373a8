#pragma once
#include <cstdint>

#include "device/queue.hpp"

namespace espalier::kernels {

using device::Queue;

/// Threads that run in step and can exchange registers.
constexpr int kWarpSize = 32;

/// Grids and blocks are one-dimensional; a kernel that wants more takes its block index apart.
struct LaunchShape {
  std::int64_t num_blocks;  ///< 0: nothing is launched
  int block_threads;        ///< a multiple of kWarpSize, at most 1024
  std::int64_t shared_bytes = 0;
};

/// Bytes that `count` elements of T take in a block's shared memory: each array begins at a
/// multiple of 16 bytes.
template <class T>
constexpr std::int64_t shared_bytes(std::int64_t count) {
  return (count * static_cast<std::int64_t>(sizeof(T)) + 15) / 16 * 16;
}

}  // namespace espalier::kernels
