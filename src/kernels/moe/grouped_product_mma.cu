// Grouped products by the tensor cores of any GPU since Ampere: a block per tile of the result,
// operands copied asynchronously, a few parts of the sum ahead.
#include "kernels/backends.hpp"
#include "kernels/cuda/attention_products.hpp"
#include "kernels/cuda/shared_limits.hpp"
#include "kernels/cuda/tiling.hpp"
#include "kernels/moe/grouped_kernels.hpp"

namespace espalier::kernels::ESPALIER_GPU {
namespace {

/// Rows and columns of a tile of the result, and terms of its sum that are copied at once.
constexpr int kTile = 128;
constexpr int kTerms = 64;
constexpr int kStages = 3;
/// 2 x 4 warps, 64 x 32 results each.
constexpr int kThreads = 256;
constexpr int kWarpCols = 4;
constexpr int kWarpTileRows = 64;
constexpr int kWarpTileCols = 32;

constexpr int kStageElements = 2 * kTile * kTerms;
constexpr std::int64_t kSharedBytes = shared_bytes<bf16>(kStages * kStageElements);
static_assert(kSharedBytes <= kSharedBytesEverywhere);

/// A window of a matrix: what lies outside of it counts as zero.
struct Window {
  const bf16* data;
  std::int64_t stride;
  int num_rows, num_cols;
};

/// Rows (or columns) of the result as an operand holds them: terms lie along its rows, or its rows
/// are the terms.
template <bool kRowsAreTerms>
struct Operand {
  using Tile =
      std::conditional_t<kRowsAreTerms, SharedTile<kTerms, kTile>, SharedTile<kTile, kTerms>>;

  ESPALIER_DEVICE static void copy(const Tile& tile, const Window& window, int first, int term) {
    tile.template copy_part<kThreads>(window.data, window.stride, kRowsAreTerms ? term : first,
                                      window.num_rows, kRowsAreTerms ? first : term,
                                      window.num_cols);
  }
  /// 16 rows of the result from `row` on, terms 16 k ..
  ESPALIER_DEVICE static Words<4> left(const Tile& tile, int row, int k) {
    if constexpr (kRowsAreTerms)
      return tile.left_columns(16 * k, row / 8);
    else
      return tile.left(row, 2 * k);
  }
  /// 16 columns of the result from `col` on: words 0, 1 for eight, words 2, 3 for the next.
  ESPALIER_DEVICE static Words<4> right(const Tile& tile, int col, int k) {
    if constexpr (kRowsAreTerms)
      return tile.right_columns(16 * k, col / 8);
    else
      return tile.right_rows(col, 2 * k);
  }
};

struct Problem {
  Rows<const bf16> left, right;
  Rows<bf16> rows_out;     ///< of forward and backward_input
  Rows<float> weight_out;  ///< of backward_weight
  int rows_of_weight, num_cols, num_terms;
  int left_cols, right_cols;
  bool accumulate;
};

using Sums = float[kWarpTileRows / 16][kWarpTileCols / 8][4];

/// Rounded, through shared memory, so that whole chunks go to memory.
ESPALIER_DEVICE void store_rounded(const SharedTile<kTile, kTile>& tile, const Sums& sums,
                                   Rows<bf16> out, int first_row, int num_rows, int first_col,
                                   int num_cols) {
  const int warp_row = warp() / kWarpCols * kWarpTileRows;
  const int warp_col = warp() % kWarpCols * kWarpTileCols;
#pragma unroll
  for (int m = 0; m < kWarpTileRows / 16; ++m)
#pragma unroll
    for (int n = 0; n < kWarpTileCols / 8; ++n)
#pragma unroll
      for (int r = 0; r < 2; ++r)
        tile.set_pair(warp_row + 16 * m + fragment_row(2 * r), warp_col / 8 + n, fragment_col(0),
                      pair_of_bf16(sums[m][n][2 * r], sums[m][n][2 * r + 1]));
  block_barrier();
  constexpr int kChunks = kTile / 8;
  const int chunk = thread_index() % kChunks;
  const int col = first_col + 8 * chunk;
  if (col >= num_cols) return;
#pragma unroll
  for (int i = 0; i < kTile * kChunks / kThreads; ++i) {
    const int row = i * (kThreads / kChunks) + thread_index() / kChunks;
    if (first_row + row < num_rows)
      write_words(out.row(first_row + row) + col, tile.chunk(row, chunk));
  }
}

/// In fp32: four lanes fill a sector.
ESPALIER_DEVICE void store_sums(const Sums& sums, Rows<float> out, int first_row, int num_rows,
                                int first_col, int num_cols, bool accumulate) {
  const int warp_row = warp() / kWarpCols * kWarpTileRows;
  const int warp_col = warp() % kWarpCols * kWarpTileCols;
#pragma unroll
  for (int m = 0; m < kWarpTileRows / 16; ++m)
#pragma unroll
    for (int r = 0; r < 2; ++r) {
      const int row = first_row + warp_row + 16 * m + fragment_row(2 * r);
      if (row >= num_rows) continue;
#pragma unroll
      for (int n = 0; n < kWarpTileCols / 8; ++n) {
        const int col = first_col + warp_col + 8 * n + fragment_col(0);
        if (col >= num_cols) continue;
        float* to = out.row(row) + col;
        Pack<2> pair{{sums[m][n][2 * r], sums[m][n][2 * r + 1]}};
        if (accumulate) pair = pair + load(to, Columns<2>{});
        store(to, pair);
      }
    }
}

template <GroupedKind kKind>
ESPALIER_KERNEL_OF_BLOCKS(kThreads, 2)
product_tile(Problem a, GroupTiles tiles) {
  constexpr bool kOfWeights = kKind == GroupedKind::backward_weight;
  using Left = Operand<kOfWeights>;
  using Right = Operand<kKind != GroupedKind::forward>;
  SharedAllocator shared;
  const auto memory = shared.take<bf16>(kStages * kStageElements);
  const auto left_tile = [&](int stage) {
    return typename Left::Tile(memory.part(stage * kStageElements, kTile * kTerms));
  };
  const auto right_tile = [&](int stage) {
    return
        typename Right::Tile(memory.part(stage * kStageElements + kTile * kTerms, kTile * kTerms));
  };

  const auto place = tiles.place(static_cast<int>(block_index()));
  const std::int64_t weight_row = static_cast<std::int64_t>(place.group) * a.rows_of_weight;
  const Window left{a.left.row(place.first_row), a.left.stride, place.num_rows, a.left_cols};
  const Window right{a.right.row(kOfWeights ? place.first_row : weight_row), a.right.stride,
                     kOfWeights ? place.num_rows : a.rows_of_weight, a.right_cols};
  const int first_row = place.row_tile * kTile;
  const int first_col = place.col_tile * kTile;
  const int num_terms = kOfWeights ? place.num_rows : a.num_terms;
  const int num_parts = (num_terms + kTerms - 1) / kTerms;
  const auto start_copies = [&](int part) {
    if (part < num_parts) {
      Left::copy(left_tile(part % kStages), left, first_row, part * kTerms);
      Right::copy(right_tile(part % kStages), right, first_col, part * kTerms);
    }
    commit_copies();  // an empty group, too, so that the counts of groups stay the same
  };
#pragma unroll
  for (int part = 0; part < kStages - 1; ++part) start_copies(part);

  Sums sums{};
  const int warp_row = warp() / kWarpCols * kWarpTileRows;
  const int warp_col = warp() % kWarpCols * kWarpTileCols;
  for (int part = 0; part < num_parts; ++part) {
    wait_for_copies<kStages - 2>();
    block_barrier();
    // Into the place of the part before: all warps are done with it.
    start_copies(part + kStages - 1);
    // Warps whose rows are behind the group's last only copy.
    if (!kOfWeights && first_row + warp_row >= place.num_rows) continue;
    const auto l = left_tile(part % kStages);
    const auto r = right_tile(part % kStages);
    // Where both operands lie across their terms the compiler would ask for parts of the next k, in
    // more registers than there are.
#pragma unroll(kOfWeights ? 2 : kTerms / 16)
    for (int k = 0; k < kTerms / 16; ++k) {
      Words<4> lefts[kWarpTileRows / 16];
#pragma unroll
      for (int m = 0; m < kWarpTileRows / 16; ++m) lefts[m] = Left::left(l, warp_row + 16 * m, k);
#pragma unroll
      for (int n = 0; n < kWarpTileCols / 16; ++n) {
        const Words<4> b = Right::right(r, warp_col + 16 * n, k);
#pragma unroll
        for (int m = 0; m < kWarpTileRows / 16; ++m) {
          multiply_add(sums[m][2 * n], lefts[m], b.at[0], b.at[1]);
          multiply_add(sums[m][2 * n + 1], lefts[m], b.at[2], b.at[3]);
        }
      }
    }
  }
  if constexpr (kOfWeights) {
    store_sums(sums, {a.weight_out.row(weight_row), a.weight_out.stride}, first_row,
               a.rows_of_weight, first_col, a.num_cols, a.accumulate);
  } else {
    wait_for_copies<0>();
    block_barrier();
    store_rounded(SharedTile<kTile, kTile>(memory.part(0, kTile * kTile)), sums,
                  {a.rows_out.row(place.first_row), a.rows_out.stride}, first_row, place.num_rows,
                  first_col, a.num_cols);
  }
}

template <GroupedKind kKind>
void launch_products(const Queue& queue, const GroupedProblem& a) {
  for_group_launches(a, kTile, kTile, [&](const GroupTiles& tiles, std::int64_t first_group) {
    const std::int64_t weight_row = first_group * a.rows_of_weight();
    Problem call{.left = rows_of<bf16>(a.left),
                 .right = rows_of<bf16>(a.right),
                 .rows_out = {},
                 .weight_out = {},
                 .rows_of_weight = narrow<int>(a.rows_of_weight()),
                 .num_cols = narrow<int>(a.out.cols),
                 .num_terms = narrow<int>(a.left.cols),
                 .left_cols = narrow<int>(a.left.cols),
                 .right_cols = narrow<int>(a.right.cols),
                 .accumulate = a.accumulate};
    if (a.of_weights()) {
      call.weight_out = rows_of<float>(a.out);
      call.weight_out.data += weight_row * call.weight_out.stride;
    } else {
      call.rows_out = rows_of<bf16>(a.out);
      call.right.data += weight_row * call.right.stride;
    }
    launch(
        product_tile<kKind>,
        {.num_blocks = tiles.num_tiles(), .block_threads = kThreads, .shared_bytes = kSharedBytes},
        queue, call, tiles);
  });
}

}  // namespace

void grouped_mma(const Queue& queue, const GroupedProblem& a) {
  ESPALIER_ASSERT(a.left.dtype == DType::bf16 && all_aligned(a.left, a.right, a.out) &&
                      a.left.cols % 8 == 0 && a.out.cols % 8 == 0,
                  "left {}, right {}, out {}: rows of 16 bytes", describe(a.left),
                  describe(a.right), describe(a.out));
  switch (a.kind) {
    case GroupedKind::forward:
      return launch_products<GroupedKind::forward>(queue, a);
    case GroupedKind::backward_input:
      return launch_products<GroupedKind::backward_input>(queue, a);
    case GroupedKind::backward_weight:
      return launch_products<GroupedKind::backward_weight>(queue, a);
  }
}

}  // namespace espalier::kernels::ESPALIER_GPU
