#pragma once
#include <compare>
#include <cstdint>

namespace espalier::device {

/// Four consecutive warps, which multiply matrices together on Hopper.
constexpr int kWarpgroupThreads = 128;

constexpr int kMaxTensorRank = 4;
/// Columns of a box: 128 bytes of bf16, as wide as the swizzle.
constexpr int kBoxColumns = 64;

/// A tensor of bf16 in device memory and the box of it that is copied at once. Dimension 0 is the
/// fastest, its elements are neighbours. Base and strides are multiples of 16 bytes.
struct TensorExtents {
  int rank;                             ///< 2 .. kMaxTensorRank
  std::int64_t size[kMaxTensorRank];    ///< elements
  std::int64_t stride[kMaxTensorRank];  ///< elements; of dimension 0 it is 1
  int box[kMaxTensorRank];              ///< elements; of dimension 0 kBoxColumns, at most 256
  friend auto operator<=>(const TensorExtents&, const TensorExtents&) = default;
};

}  // namespace espalier::device
