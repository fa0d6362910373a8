#pragma once
// The two products of attention, for the 16 rows of a warp: rows against rows (scores), and results
// of the first as left operand against a tile (sums of values). Fragments as in mma.m16n8k16: of
// each 16 x 8 results a lane holds rows g and g + 8, columns 2t and 2t + 1 (g = lane / 4,
// t = lane % 4), in the order (g, 2t), (g, 2t + 1), (g + 8, 2t), (g + 8, 2t + 1).
#include "kernels/cuda/pack.hpp"
#include "kernels/cuda/shared_tile.hpp"

namespace espalier::kernels::ESPALIER_GPU {

constexpr float kLog2E = 1.4426950408889634f;

/// 16 x kCols results of a warp.
template <int kCols>
struct WarpMatrix {
  float at[kCols / 8][4];
};

/// The row of the warp's 16, and the column, of element i of the lane's part of 8 columns.
ESPALIER_DEVICE int fragment_row(int i) {
  return lane() / 4 + i / 2 * 8;
}
ESPALIER_DEVICE int fragment_col(int i) {
  return lane() % 4 * 2 + i % 2;
}

/// left (16, D) right (kRows, D)^T; left(d) is the operand of columns 16 d .. 16 d + 15.
template <int kRows, int kHeadDim, class Left>
ESPALIER_DEVICE WarpMatrix<kRows> multiply_rows(const Left& left,
                                                const SharedTile<kRows, kHeadDim>& right) {
  WarpMatrix<kRows> result{};
#pragma unroll
  for (int d = 0; d < kHeadDim / 16; ++d) {
    const Words<4> a = left(d);
#pragma unroll
    for (int n = 0; n < kRows / 16; ++n) {
      const Words<4> b = right.right_rows(16 * n, 2 * d);
      multiply_add(result.at[2 * n], a, b.at[0], b.at[1]);
      multiply_add(result.at[2 * n + 1], a, b.at[2], b.at[3]);
    }
  }
  return result;
}

/// sum (16, D) += left (16, kRows) right (kRows, D). The results of a product are already where the
/// next one wants its left operand.
template <int kRows, int kHeadDim>
ESPALIER_DEVICE void add_product(WarpMatrix<kHeadDim>& sum, const WarpMatrix<kRows>& left,
                                 const SharedTile<kRows, kHeadDim>& right) {
#pragma unroll
  for (int k = 0; k < kRows / 16; ++k) {
    const float(&low)[4] = left.at[2 * k];
    const float(&high)[4] = left.at[2 * k + 1];
    const Words<4> a{{pair_of_bf16(low[0], low[1]), pair_of_bf16(low[2], low[3]),
                      pair_of_bf16(high[0], high[1]), pair_of_bf16(high[2], high[3])}};
#pragma unroll
    for (int n = 0; n < kHeadDim / 16; ++n) {
      const Words<4> b = right.right_columns(16 * k, 2 * n);
      multiply_add(sum.at[2 * n], a, b.at[0], b.at[1]);
      multiply_add(sum.at[2 * n + 1], a, b.at[2], b.at[3]);
    }
  }
}

/// Writes the warp's rows, times factor, as bf16: row i of the warp to row first + i of a matrix of
/// num_rows rows. They are put in order in rows place .. place + 15 of a tile that no other warp
/// uses, so that whole chunks go to memory.
template <int kRows, int kHeadDim>
ESPALIER_DEVICE void store_rows(bf16* matrix, std::int64_t stride, int first, int num_rows,
                                const SharedTile<kRows, kHeadDim>& tile, int place,
                                const WarpMatrix<kHeadDim>& values, const float (&factor)[2]) {
#pragma unroll
  for (int r = 0; r < 2; ++r)
#pragma unroll
    for (int n = 0; n < kHeadDim / 8; ++n)
      tile.set_pair(
          place + fragment_row(2 * r), n, fragment_col(0),
          pair_of_bf16(values.at[n][2 * r] * factor[r], values.at[n][2 * r + 1] * factor[r]));
  warp_barrier();
  constexpr int kChunks = kHeadDim / 8;
#pragma unroll
  for (int i = 0; i < 16 * kChunks / kWarpSize; ++i) {
    const int at = i * kWarpSize + lane();
    const int row = at / kChunks;
    if (first + row < num_rows)
      write_words(matrix + (first + row) * stride + at % kChunks * 8,
                  tile.chunk(place + row, at % kChunks));
  }
}

/// Writes the warp's rows, times factor, as they are: four lanes fill 32 bytes of a row.
template <int kHeadDim>
ESPALIER_DEVICE void store_sums(float* matrix, std::int64_t stride, int first, int num_rows,
                                const WarpMatrix<kHeadDim>& values, float factor) {
#pragma unroll
  for (int r = 0; r < 2; ++r) {
    const int row = first + fragment_row(2 * r);
    if (row >= num_rows) continue;
#pragma unroll
    for (int n = 0; n < kHeadDim / 8; ++n)
      store(matrix + row * stride + n * 8 + fragment_col(0),
            Pack<2>{{values.at[n][2 * r] * factor, values.at[n][2 * r + 1] * factor}});
  }
}

}  // namespace espalier::kernels::ESPALIER_GPU
