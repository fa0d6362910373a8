#pragma once
// The shared memory that a block can have, and what attention's provider for all shapes takes of
// it: plain numbers, for plans that are made without a GPU.
#include <cstdint>

#include "kernels/cuda/launch_shape.hpp"

namespace espalier::kernels {

/// Bytes of a block, when asked for, by compute capability (CUDA C++ Programming Guide, "Technical
/// Specifications per Compute Capability"). 0, the emulated GPU, has those of the largest.
constexpr std::int64_t most_shared_bytes(int compute_capability) {
  constexpr std::int64_t kKiB = 1024;
  switch (compute_capability) {
    case 80:
    case 87:
      return 163 * kKiB;
    case 86:
    case 89:
      return 99 * kKiB;
    default:
      return compute_capability >= 120 ? 99 * kKiB : 227 * kKiB;
  }
}
/// What every device from compute capability 8.0 on has.
constexpr std::int64_t kSharedBytesEverywhere = most_shared_bytes(86);

/// Rows of a tile of queries or keys of the provider reference.
constexpr int kReferenceRows = 32;
/// Elements of a tile of that many rows of a head. Rows are a pack apart in the banks, so that a
/// pack of every row is read without conflicts.
constexpr std::int64_t row_tile_elements(std::int64_t head_dim) {
  return kReferenceRows * ((head_dim + 3) / 4 * 4 + 4);
}
/// Of a block of the provider reference; the backward pass: of its kernel that takes more.
constexpr std::int64_t reference_forward_bytes(std::int64_t head_dim) {
  return 3 * shared_bytes<float>(row_tile_elements(head_dim)) +
         shared_bytes<float>(kReferenceRows * kReferenceRows);
}
constexpr std::int64_t reference_backward_bytes(std::int64_t head_dim) {
  return 4 * shared_bytes<float>(row_tile_elements(head_dim)) +
         2 * shared_bytes<float>(kReferenceRows * kReferenceRows);
}

}  // namespace espalier::kernels
