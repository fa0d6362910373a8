#include "emulation/tensor_map.hpp"

#include <cstring>

#include "base/error.hpp"
#include "emulation/faults.hpp"

namespace espalier::emulation {
namespace {

constexpr int kElementBytes = 2;
constexpr int kChunkElements = 8;

}  // namespace

TensorMap TensorMap::make(const void* data, const device::TensorExtents& extents) {
  TensorMap map{const_cast<std::byte*>(static_cast<const std::byte*>(data)), extents};
  const auto address = reinterpret_cast<std::uintptr_t>(data);
  require(extents.rank >= 2 && extents.rank <= device::kMaxTensorRank && address % 16 == 0,
          ExitStatus::internal, "emulation: a tensor map of rank {} at {}: not aligned",
          extents.rank, data);
  require(extents.box[0] == device::kBoxColumns && extents.stride[0] == 1, ExitStatus::internal,
          "emulation: a box of {} columns; with 128-byte swizzling it has {}", extents.box[0],
          device::kBoxColumns);
  for (int i = 0; i < extents.rank; ++i) {
    require(extents.size[i] > 0 && extents.size[i] <= std::int64_t{1} << 32 && extents.box[i] > 0 &&
                extents.box[i] <= 256,
            ExitStatus::internal, "emulation: a tensor map of size {}, box {} in dimension {}",
            extents.size[i], extents.box[i], i);
    require(i == 0 || (extents.stride[i] * kElementBytes % 16 == 0 &&
                       extents.stride[i] * kElementBytes < std::int64_t{1} << 40),
            ExitStatus::internal, "emulation: a tensor map of stride {} in dimension {}",
            extents.stride[i], i);
  }
  map.extents.size[extents.rank - 2] -= settings().faults.missing_tail_rows;
  return map;
}

std::int64_t TensorMap::box_rows() const {
  std::int64_t rows = 1;
  for (int i = 1; i < extents.rank; ++i) rows *= extents.box[i];
  return rows;
}

std::int64_t TensorMap::box_bytes() const {
  return box_rows() * device::kBoxColumns * kElementBytes;
}

std::span<std::byte> TensorMap::row_inside(const int (&at)[device::kMaxTensorRank],
                                           std::int64_t row) const {
  int first = 0, end = device::kBoxColumns;
  while (first < end && element(at, row, first) == nullptr) ++first;
  while (end > first && element(at, row, end - 1) == nullptr) --end;
  return {element(at, row, first), static_cast<std::size_t>(end - first) * kElementBytes};
}

std::byte* TensorMap::element(const int (&at)[device::kMaxTensorRank], std::int64_t row,
                              int col) const {
  const auto inside = [&](int i, std::int64_t place) {
    return place >= 0 && place < extents.size[i];
  };
  std::int64_t place = at[0] + col;
  if (!inside(0, place)) return nullptr;
  std::int64_t offset = place;
  for (int i = 1; i < extents.rank; ++i) {
    place = at[i] + row % extents.box[i];
    row /= extents.box[i];
    if (!inside(i, place)) return nullptr;
    offset += place * extents.stride[i];
  }
  return data + offset * kElementBytes;
}

Chunk TensorMap::read(const int (&at)[device::kMaxTensorRank], std::int64_t row, int chunk) const {
  Chunk result{};
  for (int i = 0; i < kChunkElements; ++i)
    if (const std::byte* from = element(at, row, chunk * kChunkElements + i); from != nullptr)
      std::memcpy(result.data() + i * kElementBytes, from, kElementBytes);
  return result;
}

void TensorMap::write(const int (&at)[device::kMaxTensorRank], std::int64_t row, int chunk,
                      const Chunk& from) const {
  for (int i = 0; i < kChunkElements; ++i)
    if (std::byte* to = element(at, row, chunk * kChunkElements + i); to != nullptr)
      std::memcpy(to, from.data() + i * kElementBytes, kElementBytes);
}

}  // namespace espalier::emulation
