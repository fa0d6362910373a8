#pragma once
// The products of attention in plain fp32, for any head_dim up to 256. A block holds tiles of
// kRows rows of a head in shared memory; a warp owns kOwnRows of them, and its lanes are the rows
// of the tile that passes by (scores) or packs of columns (sums of rows).
#include "kernels/cuda/pack.hpp"
#include "kernels/cuda/shared_limits.hpp"
#include "kernels/cuda/threads.hpp"
#include "kernels/cuda/tiling.hpp"

namespace espalier::kernels::ESPALIER_GPU {

constexpr int kRows = kReferenceRows;
static_assert(kRows == kWarpSize);
constexpr int kOwnRows = 4;
constexpr int kRowsThreads = kRows / kOwnRows * kWarpSize;

/// Columns of a tile for head_dim: whole packs of four.
ESPALIER_DEVICE int padded_columns(int head_dim) {
  return (head_dim + 3) / 4 * 4;
}

/// kRows rows of one head as fp32.
class RowTile {
 public:
  ESPALIER_DEVICE RowTile(SharedAllocator& shared, int head_dim)
      : columns_(padded_columns(head_dim)),
        head_dim_(head_dim),
        array_(shared.take<float>(kRows * (padded_columns(head_dim) + 4))) {}

  /// Copies rows first .. first + kRows of a matrix, by the whole block; rows from num_rows on and
  /// columns from head_dim on become zeros.
  template <int kCount, class T>
  ESPALIER_DEVICE void copy_rows(const T* matrix, std::int64_t stride, int first,
                                 int num_rows) const {
    const int packs = columns_ / kCount;
#pragma unroll 2
    for (int i = thread_index(); i < kRows * packs; i += num_threads()) {
      const int row = i / packs;
      const int c = (i - row * packs) * kCount;
      Pack<kCount> value{};
      if (first + row < num_rows && c < head_dim_)
        value = load(matrix + (first + row) * stride + c, Columns<kCount>{});
      store(array_, row * row_length() + c, value);
    }
  }

  ESPALIER_DEVICE Pack<4> pack(int row, int c) const {
    return load(array_, row * row_length() + c, Columns<4>{});
  }
  ESPALIER_DEVICE int columns() const {
    return columns_;
  }
  ESPALIER_DEVICE int head_dim() const {
    return head_dim_;
  }

 private:
  ESPALIER_DEVICE int row_length() const {
    return columns_ + 4;
  }
  int columns_, head_dim_;
  SharedArray<float> array_;
};

/// One number for each of the warp's rows.
struct OwnRows {
  float at[kOwnRows];
};
/// The first of the warp's rows.
ESPALIER_DEVICE int own_row() {
  return warp() * kOwnRows;
}

/// own[r] . passing[lane]
ESPALIER_DEVICE OwnRows dot_rows(const RowTile& own, const RowTile& passing) {
  OwnRows result{};
#pragma unroll 1
  for (int c = 0; c < own.columns(); c += 4) {
    const auto x = passing.pack(lane(), c);
#pragma unroll
    for (int r = 0; r < kOwnRows; ++r) result.at[r] += sum_of(own.pack(own_row() + r, c) * x);
  }
  return result;
}

/// Sums of rows for each of the warp's rows; a lane has columns 4 lane .. + 3 of each 128.
constexpr int kPacks = 2;
struct RowSums {
  Pack<4> at[kOwnRows][kPacks];
};

/// The weights of a tile's rows in the sums of the warp's rows, (kRows, kRows) per block. What the
/// lanes of a warp set is there for them after the barrier of the warp.
class RowWeights {
 public:
  ESPALIER_DEVICE explicit RowWeights(SharedAllocator& shared)
      : array_(shared.take<float>(kRows * kRows)) {}
  ESPALIER_DEVICE void set(int r, float weight) const {
    array_.set((own_row() + r) * kRows + lane(), weight);
  }
  /// sums[r] += weight(r, 0) * rows[0] + weight(r, 1) * rows[1] + ...
  ESPALIER_DEVICE void add_rows(RowSums& sums, const RowTile& rows) const {
#pragma unroll 1
    for (int row = 0; row < kRows; row += 4) {
      Pack<4> weights[kOwnRows];
#pragma unroll
      for (int r = 0; r < kOwnRows; ++r)
        weights[r] = load(array_, (own_row() + r) * kRows + row, Columns<4>{});
#pragma unroll
      for (int p = 0; p < kPacks; ++p) {
        const int c = (p * kWarpSize + lane()) * 4;
        if (c >= rows.columns()) continue;
#pragma unroll
        for (int i = 0; i < 4; ++i) {
          const auto x = rows.pack(row + i, c);
#pragma unroll
          for (int r = 0; r < kOwnRows; ++r) sums.at[r][p] = sums.at[r][p] + x * weights[r].at[i];
        }
      }
    }
  }

 private:
  SharedArray<float> array_;
};

/// Writes the warp's sums, times factor, to rows first + own_row() + r of a matrix of num_rows
/// rows. kCount 1: rows are not aligned.
template <int kCount, class T>
ESPALIER_DEVICE void store_sums(T* matrix, std::int64_t stride, int first, int num_rows,
                                int head_dim, const RowSums& sums, const OwnRows& factor) {
#pragma unroll
  for (int r = 0; r < kOwnRows; ++r) {
    const int row = first + own_row() + r;
    if (row >= num_rows) continue;
    T* place = matrix + row * stride;
#pragma unroll
    for (int p = 0; p < kPacks; ++p) {
      const int c = (p * kWarpSize + lane()) * 4;
      const auto value = sums.at[r][p] * factor.at[r];
      if constexpr (kCount > 1) {
        if (c < head_dim) store(place + c, value);
      } else {
#pragma unroll
        for (int i = 0; i < 4; ++i)
          if (c + i < head_dim) write_element(place + c + i, from_float<T>(value.at[i]));
      }
    }
  }
}

/// body(Columns<n>{}): vectors where rows are aligned and vectors divide head_dim, else elements.
template <class T, class Body>
void with_head_width(bool aligned, std::int64_t head_dim, Body&& body) {
  with_width<kFullWidth<T>>(aligned && head_dim % kFullWidth<T> == 0, body);
}

}  // namespace espalier::kernels::ESPALIER_GPU
