#pragma once
// How launchers cut matrices into blocks, and how kernels see matrices.
#include <algorithm>
#include <cstdint>

#include "base/integers.hpp"
#include "device/view.hpp"
#include "kernels/cuda/launch_shape.hpp"
#include "kernels/cuda/pack.hpp"

namespace espalier::kernels::ESPALIER_GPU {

/// Threads of a block that works on a tile.
constexpr int kTileThreads = 256;
/// Columns of a tile: some vectors per thread, and a multiple of every vector's width.
constexpr int kTileColumns = 8192;

/// A piece of one row.
struct Tile {
  std::int64_t row;
  std::int64_t first;  ///< column
  int count;           ///< columns
};

/// A matrix cut into tiles, row by row. A contiguous one counts as a single long row, so that the
/// length of its rows does not matter.
struct Tiling {
  std::int64_t rows, cols, tiles_per_row;

  Tiling(std::int64_t num_rows, std::int64_t num_cols, bool contiguous)
      : rows(contiguous ? 1 : num_rows),
        cols(contiguous ? num_rows * num_cols : num_cols),
        tiles_per_row(div_ceil(cols, kTileColumns)) {}

  constexpr std::int64_t num_tiles() const { return rows * tiles_per_row; }
  ESPALIER_DEVICE Tile tile(std::int64_t index) const {
    const std::int64_t row = index / tiles_per_row;
    const std::int64_t first = (index - row * tiles_per_row) * kTileColumns;
    const std::int64_t left = cols - first;
    return {row, first, left < kTileColumns ? static_cast<int>(left) : kTileColumns};
  }
};

/// The rows of a matrix of T.
template <class T>
struct Rows {
  T* data;
  std::int64_t stride;  ///< elements

  ESPALIER_DEVICE T* row(std::int64_t r) const { return data + r * stride; }
  ESPALIER_DEVICE T* at(const Tile& tile, int c) const { return row(tile.row) + tile.first + c; }
};

template <class T>
Rows<T> rows_of(const device::View& view) {
  return {view.data != nullptr ? view.as<T>() : nullptr, view.stride};
}
template <class T>
Rows<const T> rows_of(const device::ConstView& view) {
  return {view.data != nullptr ? view.as<T>() : nullptr, view.stride};
}

template <class... Views>
bool all_contiguous(const Views&... views) {
  return (views.is_contiguous() && ...);
}

/// Whether every row begins at a multiple of 16 bytes, so that vectors may be used.
template <class... Views>
bool all_aligned(const Views&... views) {
  const auto aligned = [](const device::ConstView& view) {
    const auto address = reinterpret_cast<std::uintptr_t>(view.data);
    const auto row_bytes = view.stride * static_cast<std::int64_t>(size_of(view.dtype));
    return address % 16 == 0 && (view.rows <= 1 || row_bytes % 16 == 0);
  };
  return (aligned(views) && ...);
}

/// body(Columns<n>{}) with n = kWidth, or 1 where vectors cannot be used.
template <int kWidth, class Body>
void with_width(bool aligned, Body&& body) {
  if (aligned)
    body(Columns<kWidth>{});
  else
    body(Columns<1>{});
}

/// Threads of a block that works on a whole row: kRowVectors vectors each, more in rows that are
/// too wide, in whole warps.
constexpr int kRowVectors = 2;
constexpr int kMaxRowThreads = 512;
inline int row_threads(std::int64_t width, int count) {
  return narrow<int>(std::clamp<std::int64_t>(
      round_up(div_ceil(width, kRowVectors * count), kWarpSize), kWarpSize, kMaxRowThreads));
}

/// The queue's workspace as `count` elements of T.
template <class T>
T* workspace(const Queue& queue, std::int64_t count) {
  const std::int64_t floats = div_ceil(count * static_cast<std::int64_t>(sizeof(T)), 4);
  ESPALIER_ASSERT(floats <= queue.workspace_elements, "{} floats of a workspace of {}", floats,
                  queue.workspace_elements);
  return reinterpret_cast<T*>(queue.workspace);
}

}  // namespace espalier::kernels::ESPALIER_GPU
