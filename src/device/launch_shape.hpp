#pragma once
#include <cstdint>

#include "base/error.hpp"

namespace espalier::device {

/// Threads that run in step and can exchange registers.
constexpr int kWarpSize = 32;

/// Grids and blocks are one-dimensional; a kernel that wants more takes its block index apart.
struct LaunchShape {
  std::int64_t num_blocks;  ///< 0: nothing is launched
  int block_threads;        ///< a multiple of kWarpSize, at most 1024
  std::int64_t shared_bytes = 0;
};

/// Throws where no device could launch it. A grid is at most 2^31 - 1 blocks long (CUDA C++
/// Programming Guide, "Technical Specifications per Compute Capability").
inline void require_launchable(const LaunchShape& shape) {
  constexpr std::int64_t kMostBlocks = 0x7FFFFFFF;
  require(shape.num_blocks >= 0 && shape.num_blocks <= kMostBlocks, ExitStatus::internal,
          "a kernel of {} blocks; a grid has at most {}: take a smaller micro-batch",
          shape.num_blocks, kMostBlocks);
  require(shape.block_threads > 0 && shape.block_threads <= 1024 &&
              shape.block_threads % kWarpSize == 0,
          ExitStatus::internal, "a kernel with blocks of {} threads; at most 1024 in whole warps",
          shape.block_threads);
}

/// Throws where this device could not: `most` is what it gives a block.
inline void require_shared_bytes(const LaunchShape& shape, std::int64_t most) {
  require(shape.shared_bytes <= most, ExitStatus::internal,
          "a kernel takes {} bytes of shared memory, this GPU gives a block {}: the model is too "
          "wide for it; use a larger parallel.tensor, or another GPU",
          shape.shared_bytes, most);
}

/// Bytes that `count` elements of T take in a block's shared memory: each array begins at a
/// multiple of 16 bytes.
template <class T>
constexpr std::int64_t shared_bytes(std::int64_t count) {
  return (count * static_cast<std::int64_t>(sizeof(T)) + 15) / 16 * 16;
}

}  // namespace espalier::device
