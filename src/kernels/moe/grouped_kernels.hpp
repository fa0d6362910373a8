#pragma once
// The kernels of grouped products, and how they cut a result into tiles.
#include <algorithm>
#include <cstdint>
#include <span>

#include "base/integers.hpp"
#include "device/view.hpp"
#include "kernels/cuda/launch_shape.hpp"
#include "kernels/cuda/port.hpp"
#include "kernels/moe/grouped_shapes.hpp"

namespace espalier::kernels::ESPALIER_GPU {

/// Groups of one launch, as a kernel's argument: their rows, and their tiles of the result counted
/// through all. Rows of groups without any tile are not named.
struct GroupTiles {
  static constexpr int kMaxGroups = 256;

  std::int32_t first_row[kMaxGroups + 1];  ///< of the operands' rows
  std::int32_t first_tile[kMaxGroups + 1];
  int num_groups = 0;
  int num_col_tiles = 0;
  int num_blocks = 0;  ///< of blocks that take several tiles

  /// Of groups first .. first + count of the problem, with tiles of tile_rows x tile_cols.
  static GroupTiles of(const GroupedProblem& a, std::int64_t first, std::int64_t count,
                       int tile_rows, int tile_cols) {
    GroupTiles tiles;
    tiles.num_groups = narrow<int>(count);
    tiles.num_col_tiles = narrow<int>(div_ceil(a.out.cols, tile_cols));
    std::int64_t num_tiles = 0;
    for (std::int64_t g = 0; g <= count; ++g) {
      const std::int64_t row = a.offsets[static_cast<std::size_t>(first + g)];
      tiles.first_row[g] = narrow<std::int32_t>(row);
      tiles.first_tile[g] = narrow<std::int32_t>(num_tiles);
      if (g == count) break;
      const std::int64_t rows = a.offsets[static_cast<std::size_t>(first + g + 1)] - row;
      // A group without rows has no gradient: only where it replaces what is there are zeros due.
      const bool has_result = rows > 0 || !a.accumulate;
      const std::int64_t rows_of_result = !a.of_weights() ? rows
                                          : has_result    ? a.rows_of_weight()
                                                          : 0;
      num_tiles += div_ceil(rows_of_result, tile_rows) * tiles.num_col_tiles;
    }
    return tiles;
  }
  std::int64_t num_tiles() const { return first_tile[num_groups]; }
  ESPALIER_DEVICE int num_all() const { return first_tile[num_groups]; }

  struct Place {
    int group;                ///< of the launch
    int first_row, num_rows;  ///< of the operands' rows that are the group's
    int row_tile, col_tile;
  };
  /// Neighbouring tiles have the same columns of the weight.
  ESPALIER_DEVICE Place place(int tile) const {
    int low = 0, high = num_groups;  // first_tile[low] <= tile < first_tile[high]
    while (high - low > 1) {
      const int middle = (low + high) / 2;
      if (first_tile[middle] <= tile)
        low = middle;
      else
        high = middle;
    }
    const int in_group = tile - first_tile[low];
    const int num_row_tiles = (first_tile[low + 1] - first_tile[low]) / num_col_tiles;
    return {low, first_row[low], first_row[low + 1] - first_row[low], in_group % num_row_tiles,
            in_group / num_row_tiles};
  }
};

/// body(tiles of a launch, first of its groups).
template <class Body>
void for_group_launches(const GroupedProblem& a, int tile_rows, int tile_cols, Body&& body) {
  for (std::int64_t first = 0; first < a.num_groups(); first += GroupTiles::kMaxGroups) {
    const std::int64_t count =
        std::min<std::int64_t>(GroupTiles::kMaxGroups, a.num_groups() - first);
    const GroupTiles tiles = GroupTiles::of(a, first, count, tile_rows, tile_cols);
    if (tiles.num_tiles() > 0) body(tiles, first);
  }
}

/// Any operands.
void grouped_reference(const Queue& queue, const GroupedProblem& a);
/// bf16 in rows of whole 16 bytes: by tensor cores.
void grouped_mma(const Queue& queue, const GroupedProblem& a);
/// The same by Hopper's warpgroups and tensor memory accelerator; compiled for another target the
/// kernels are empty, and has_grouped_wgmma says no.
bool has_grouped_wgmma();
void grouped_wgmma(const Queue& queue, const GroupedProblem& a);

}  // namespace espalier::kernels::ESPALIER_GPU
