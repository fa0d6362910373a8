#pragma once
#include "kernels/cuda/port_hopper.hpp"

namespace espalier::kernels::ESPALIER_GPU {

/// kRows x kCols of bf16 in shared memory as load_box brings them and a warpgroup's products want
/// them: panels of 64 columns, in which a row is 128 bytes; within eight rows, chunk c (16 bytes)
/// of row r is at place c ^ r. Begins at a multiple of 1024 bytes.
template <int kRows, int kCols>
class SwizzledTile {
 public:
  static constexpr int kElements = kRows * kCols;
  static constexpr int kBytes = 2 * kElements;
  static constexpr int kPanels = kCols / kBoxColumns;
  static constexpr int kPanelElements = kRows * kBoxColumns;

  ESPALIER_DEVICE explicit SwizzledTile(const SharedArray<bf16>& array) : array_(array) {}

  /// One thread starts to copy rows first_row .. first_row + kRows of head `head` of sequence b;
  /// rows after the sequence's last become zeros. kBytes count for the barrier. The map's
  /// dimensions: column, head, row, sequence.
  ESPALIER_DEVICE void load(const TensorMap& map, int head, int first_row, int b,
                            Barrier barrier) const {
#pragma unroll
    for (int panel = 0; panel < kPanels; ++panel)
      load_box(map, {panel * kBoxColumns, head, first_row, b},
               array_.address(panel * kPanelElements), barrier);
  }
  /// And back, kBoxRows rows of the tile from `row` on; rows after the sequence's last are not
  /// written.
  ESPALIER_DEVICE void store(const TensorMap& map, int head, int first_row, int b, int row) const {
#pragma unroll
    for (int panel = 0; panel < kPanels; ++panel)
      store_box(map, {panel * kBoxColumns, head, first_row + row, b},
                array_.address(panel * kPanelElements + row * kBoxColumns));
  }

  /// Descriptor of rows from `row` on, columns 16 d .. 16 d + 15, summed along the columns.
  ESPALIER_DEVICE std::uint64_t rows(int row, int d) const {
    return descriptor(row * kBoxColumns, d / 4 * kPanelElements + d % 4 * 16, 1);
  }
  /// Descriptor of rows 16 k .. 16 k + 15 and all columns from a panel's first on, summed along the
  /// rows.
  ESPALIER_DEVICE std::uint64_t columns(int k, int panel = 0) const {
    return descriptor(panel * kPanelElements, k * 16 * kBoxColumns, kPanelElements * 2 / 16);
  }

  /// Two neighbours, at an even column.
  ESPALIER_DEVICE void set_pair(int row, int col, std::uint32_t pair) const {
    const int chunk = col % kBoxColumns / 8 ^ (row & 7);
    array_.template write_words<1>(
        col / kBoxColumns * kPanelElements + row * kBoxColumns + chunk * 8 + col % 8, {{pair}});
  }

 private:
  /// PTX ISA, "Matrix descriptor": the address, then leading and stride byte offset, all in 16
  /// bytes, and the kind of swizzle. Eight rows of 128 bytes are the stride; the leading offset is
  /// from one panel to the next where columns run along the rows, and else not used. Element
  /// first + step: the compiler knows the step, and has one addition for each descriptor.
  ESPALIER_DEVICE std::uint64_t descriptor(int first, int step, int leading) const {
    constexpr std::uint32_t kStride = 8 * 128 / 16;
    constexpr std::uint32_t kSwizzle128 = 1;
    const std::uint32_t low =
        (array_.address(first) >> 4 | static_cast<std::uint32_t>(leading) << 16) +
        static_cast<std::uint32_t>(step) * 2 / 16;
    return static_cast<std::uint64_t>(kStride | kSwizzle128 << 30) << 32 | low;
  }

  SharedArray<bf16> array_;
};

}  // namespace espalier::kernels::ESPALIER_GPU
