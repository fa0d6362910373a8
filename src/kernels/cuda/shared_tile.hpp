#pragma once
#include "kernels/cuda/port.hpp"
#include "kernels/cuda/threads.hpp"

namespace espalier::kernels::ESPALIER_GPU {

/// kRows x kCols of bf16 in shared memory, as the tensor cores' loads like it. Eight columns (16
/// bytes) are a chunk; chunk c of row r lies at place c ^ (r % 8), so that the same chunk of eight
/// rows, which one load takes, lies in different banks.
template <int kRows, int kCols>
class SharedTile {
 public:
  static constexpr int kElements = kRows * kCols;

  ESPALIER_DEVICE explicit SharedTile(const SharedArray<bf16>& array) : array_(array) {}

  /// Starts to copy rows first .. first + kRows of a matrix; rows from num_rows on become zeros.
  ESPALIER_DEVICE void copy_rows(const bf16* matrix, std::int64_t stride, int first,
                                 int num_rows) const {
    constexpr int kChunks = kCols / 8;
    for (int i = thread_index(); i < kRows * kChunks; i += num_threads()) {
      const int row = first + i / kChunks;
      const bool valid = row < num_rows;
      array_.copy_async(element(i / kChunks, i % kChunks),
                        matrix + (valid ? row : 0) * stride + i % kChunks * 8, valid);
    }
  }

  /// Starts to copy, by a block of kThreads, the part of a matrix of num_rows rows and num_cols
  /// columns, a multiple of eight, that begins at a row and column; what lies outside of the matrix
  /// becomes zeros.
  template <int kThreads>
  ESPALIER_DEVICE void copy_part(const bf16* matrix, std::int64_t stride, int first_row,
                                 int num_rows, int first_col, int num_cols) const {
    constexpr int kChunks = kCols / 8;
    constexpr int kStep = kThreads / kChunks;  // rows
    static_assert(kThreads % kChunks == 0 && kRows % kStep == 0 && kStep % 8 == 0);
    const int row = thread_index() / kChunks;
    const int chunk = thread_index() % kChunks;
    const int num_left = first_col + 8 * chunk < num_cols ? num_rows - first_row - row : 0;
    const bf16* from = matrix + (first_row + row) * stride + first_col + 8 * chunk;
#pragma unroll
    for (int i = 0; i < kRows / kStep; ++i) {
      const bool valid = i * kStep < num_left;
      array_.copy_async(element(row, chunk) + i * kStep * kCols,
                        valid ? from + i * kStep * stride : matrix, valid);
    }
  }

  /// Rows row .. row + 15 and chunks chunk, chunk + 1 as the left operand of a product.
  ESPALIER_DEVICE Words<4> left(int row, int chunk) const {
    return array_.load_matrices(element(row + lane() % 16, chunk + lane() / 16));
  }
  /// The same as the left operand of a product that is summed along the rows: its rows are the two
  /// chunks' columns.
  ESPALIER_DEVICE Words<4> left_columns(int row, int chunk) const {
    return array_.load_matrices_transposed(
        element(row + lane() % 8 + lane() / 16 * 8, chunk + lane() / 8 % 2));
  }
  /// The same rows and chunks as two right operands, summed along the columns: words 0, 1 for rows
  /// row .. row + 7, words 2, 3 for the next eight.
  ESPALIER_DEVICE Words<4> right_rows(int row, int chunk) const {
    return array_.load_matrices(
        element(row + lane() % 8 + lane() / 16 * 8, chunk + lane() / 8 % 2));
  }
  /// The same as two right operands, summed along the rows: words 0, 1 for the first chunk's
  /// columns, words 2, 3 for the second's.
  ESPALIER_DEVICE Words<4> right_columns(int row, int chunk) const {
    return array_.load_matrices_transposed(element(row + lane() % 16, chunk + lane() / 16));
  }

  /// Columns 8 chunk + col and the next one, col even.
  ESPALIER_DEVICE void set_pair(int row, int chunk, int col, std::uint32_t pair) const {
    array_.template write_words<1>(element(row, chunk) + col, {{pair}});
  }
  ESPALIER_DEVICE Words<4> chunk(int row, int chunk) const {
    return array_.template read_words<4>(element(row, chunk));
  }

 private:
  /// A mask for % 8, as in lane().
  ESPALIER_DEVICE static int element(int row, int chunk) {
    return row * kCols + (chunk ^ (row & 7)) * 8;
  }
  SharedArray<bf16> array_;
};

}  // namespace espalier::kernels::ESPALIER_GPU
