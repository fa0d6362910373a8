#pragma once
#include <array>
#include <cstddef>
#include <cstdint>
#include <span>

#include "device/tensor_extents.hpp"

namespace espalier::emulation {

/// Sixteen bytes, which swizzling keeps together.
using Chunk = std::array<std::byte, 16>;

/// Where a byte lies in shared memory when 128-byte swizzling is on (PTX ISA, "Swizzling modes"):
/// within 1024 bytes, chunk c of row r is at place c ^ r. A pattern of addresses, not of tiles.
constexpr std::int64_t swizzled(std::int64_t address) {
  return address ^ ((address >> 7 & 7) << 4);
}

/// A tensor in device memory and its box, as cuTensorMapEncodeTiled takes them.
struct TensorMap {
  std::byte* data;
  device::TensorExtents extents;

  /// Throws Error (internal) for what the driver would refuse.
  static TensorMap make(const void* data, const device::TensorExtents& extents);

  std::int64_t box_rows() const;  ///< rows of 128 bytes in shared memory
  std::int64_t box_bytes() const;
  /// What of a row of the box that begins at `at` lies in the tensor.
  std::span<std::byte> row_inside(const int (&at)[device::kMaxTensorRank], std::int64_t row) const;
  /// Eight columns of a row of the box that begins at `at`; zeros outside of the tensor.
  Chunk read(const int (&at)[device::kMaxTensorRank], std::int64_t row, int chunk) const;
  /// And back; nothing outside.
  void write(const int (&at)[device::kMaxTensorRank], std::int64_t row, int chunk,
             const Chunk& from) const;

 private:
  /// nullptr outside of the tensor.
  std::byte* element(const int (&at)[device::kMaxTensorRank], std::int64_t row, int col) const;
};

}  // namespace espalier::emulation
