// Grouped products on Hopper: blocks that stay and take tile after tile. One warpgroup copies parts
// of the operands by the tensor memory accelerator, some ahead, also into the next tile; two
// multiply, each 64 rows of the tile's 128 with its 256 columns.
#include "kernels/backends.hpp"
#include "kernels/cuda/attention_warpgroups.hpp"
#include "kernels/cuda/pack.hpp"
#include "kernels/cuda/tiling.hpp"
#include "kernels/moe/grouped_kernels.hpp"

namespace espalier::kernels::ESPALIER_GPU {
// A name for the reason that attention_wgmma.cu gives.
namespace wgmma_grouped {

constexpr int kTileRows = kConsumers * kGroupRows;
constexpr int kTileCols = 256;
constexpr int kTerms = 64;  ///< of a part: 128 bytes of a row, or as many rows
constexpr int kStages = 4;
struct Problem {
  TensorMap left;          ///< (R, .)
  TensorMap right;         ///< of weights (., rows of a weight, groups), else (R, .)
  Rows<bf16> rows_out;     ///< of forward and backward_input
  Rows<float> weight_out;  ///< of backward_weight
  std::int64_t first_group;
  int rows_of_weight, num_cols, num_terms;
  bool accumulate;
  GroupTiles tiles;
};

/// kSide rows (or columns) of the result as an operand holds them for a part of the terms: terms
/// lie along its rows, or its rows are the terms.
template <int kSide, bool kRowsAreTerms>
struct Operand {
  using Tile =
      std::conditional_t<kRowsAreTerms, SwizzledTile<kTerms, kSide>, SwizzledTile<kSide, kTerms>>;
  static constexpr int kElements = Tile::kElements;

  /// Rows of a box, which has 64 columns.
  static constexpr int kBoxRows = kRowsAreTerms ? kTerms : kSide;

  ESPALIER_DEVICE explicit Operand(const SharedArray<bf16>& array) : array_(array), tile_(array) {}
  /// By one thread: of the rows and columns of the map, or of its matrix `group`.
  template <bool kOfGroups>
  ESPALIER_DEVICE void load(const TensorMap& map, int first, int term, int group,
                            Barrier barrier) const {
#pragma unroll
    for (int panel = 0; panel < Tile::kPanels; ++panel) {
      const int col = (kRowsAreTerms ? first : term) + panel * kBoxColumns;
      const int row = kRowsAreTerms ? term : first;
      const std::uint32_t to = array_.address(panel * Tile::kPanelElements);
      if constexpr (kOfGroups)
        load_box(map, {col, row, group}, to, barrier);
      else
        load_box(map, {col, row}, to, barrier);
    }
  }
  /// Descriptor for terms 16 k .. of the part, from row (or column) `first` on, a multiple of 64.
  ESPALIER_DEVICE std::uint64_t terms(int first, int k) const {
    if constexpr (kRowsAreTerms)
      return tile_.columns(k, first / kBoxColumns);
    else
      return tile_.rows(first, k);
  }
  /// Rows from `count` on become zeros, by all consumers: in the last part of a group's rows they
  /// are those of the next group.
  ESPALIER_DEVICE void clear_rows(int count) const {
    static_assert(kRowsAreTerms);
    constexpr int kThreads = kConsumers * kWarpgroupThreads;
    constexpr int kChunks = kBoxColumns / 8;
    for (int i = thread_index(); i < (kTerms - count) * kChunks * Tile::kPanels; i += kThreads) {
      const int row = count + i / kChunks % (kTerms - count);
      const int panel = i / kChunks / (kTerms - count);
      array_.template write_words<4>(
          panel * Tile::kPanelElements + row * kBoxColumns + i % kChunks * 8, Words<4>{});
    }
  }

 private:
  SharedArray<bf16> array_;
  Tile tile_;
};

template <GroupedKind kKind>
struct Stages {
  static constexpr bool kOfWeights = kKind == GroupedKind::backward_weight;
  using Left = Operand<kTileRows, kOfWeights>;
  using Right = Operand<kTileCols, kKind != GroupedKind::forward>;
  static constexpr int kElements = Left::kElements + Right::kElements;
  static constexpr std::int64_t kBytes =
      shared_bytes<bf16>(kStages * kElements) + shared_bytes<std::uint64_t>(2 * kStages);

  SharedAllocator shared;
  SharedArray<bf16> places = shared.take<bf16>(kStages * kElements);
  SharedArray<std::uint64_t> barriers = shared.take<std::uint64_t>(2 * kStages);

  /// Iterations are counted through all tiles of the block.
  ESPALIER_DEVICE static int stage(int iteration) {
    return static_cast<int>(static_cast<unsigned>(iteration) % kStages);
  }
  ESPALIER_DEVICE static int parity(int iteration) {
    return static_cast<int>(static_cast<unsigned>(iteration) / kStages % 2);
  }
  ESPALIER_DEVICE Barrier full(int iteration) const {
    return Barrier{barriers.address(stage(iteration))};
  }
  ESPALIER_DEVICE Barrier empty(int iteration) const {
    return Barrier{barriers.address(kStages + stage(iteration))};
  }
  ESPALIER_DEVICE Left left(int iteration) const {
    return Left(places.part(stage(iteration) * kElements, Left::kElements));
  }
  ESPALIER_DEVICE Right right(int iteration) const {
    return Right(places.part(stage(iteration) * kElements + Left::kElements, Right::kElements));
  }
  ESPALIER_DEVICE void make_barriers() const {
    for (int i = 0; i < kStages; ++i) {
      full(i).init(1);
      empty(i).init(kConsumerWarps);
    }
    publish_barriers();
  }
};

template <GroupedKind kKind>
ESPALIER_DEVICE int num_terms_of(const Problem& a, const GroupTiles::Place& place) {
  return kKind == GroupedKind::backward_weight ? place.num_rows : a.num_terms;
}
ESPALIER_DEVICE int num_parts_of(int num_terms) {
  return (num_terms + kTerms - 1) / kTerms;
}

/// The thread that copies.
template <GroupedKind kKind>
ESPALIER_DEVICE void copy_parts(const Problem& a, const Stages<kKind>& stages, int num_blocks) {
  constexpr bool kOfWeights = Stages<kKind>::kOfWeights;
  int iteration = 0;
  for (int tile = static_cast<int>(block_index()); tile < a.tiles.num_all(); tile += num_blocks) {
    const auto place = a.tiles.place(tile);
    const int num_parts = num_parts_of(num_terms_of<kKind>(a, place));
    const int first_row = place.row_tile * kTileRows;
    const int first_col = place.col_tile * kTileCols;
    const int group = static_cast<int>(a.first_group) + place.group;
#pragma unroll 1
    for (int part = 0; part < num_parts; ++part, ++iteration) {
      const Barrier full = stages.full(iteration);
      stages.empty(iteration).wait(stages.parity(iteration) ^ 1);
      full.arrive_expecting(2 * Stages<kKind>::kElements);
      const int term = part * kTerms;
      if constexpr (kOfWeights) {
        stages.left(iteration).template load<false>(a.left, first_row, place.first_row + term, 0,
                                                    full);
        stages.right(iteration).template load<false>(a.right, first_col, place.first_row + term, 0,
                                                     full);
      } else {
        stages.left(iteration).template load<false>(a.left, place.first_row + first_row, term, 0,
                                                    full);
        stages.right(iteration).template load<true>(a.right, first_col, term, group, full);
      }
    }
  }
}

using Sums = float[kTileCols / 2];

/// Four pairs of neighbouring columns, of four blocks of eight, become the eight of one block: lane
/// t of a quad has columns 2t, 2t + 1 of each, and gets all of block t.
ESPALIER_DEVICE Words<4> gathered(Words<4> w) {
  const bool odd = (lane() & 1) != 0;
  const bool upper = (lane() & 2) != 0;
#pragma unroll
  for (int i = 0; i < 4; i += 2) {
    const std::uint32_t other = shuffle_xor(odd ? w.at[i] : w.at[i + 1], 1);
    (odd ? w.at[i] : w.at[i + 1]) = other;
  }
#pragma unroll
  for (int i = 0; i < 2; ++i) {
    const std::uint32_t other = shuffle_xor(upper ? w.at[i] : w.at[i + 2], 2);
    (upper ? w.at[i] : w.at[i + 2]) = other;
  }
  return w;
}

/// The warpgroup's rows of the result, rounded, 16 bytes of a row at a time.
ESPALIER_DEVICE void store_rounded(const Sums& sums, Rows<bf16> out, int first_row, int num_rows,
                                   int first_col, int num_cols) {
#pragma unroll
  for (int r = 0; r < 2; ++r) {
    const int row = first_row + group_row(2 * r);
#pragma unroll
    for (int block = 0; block < kTileCols / 8; block += 4) {
      Words<4> pairs;
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        const int at = 4 * (block + i) + 2 * r;
        pairs.at[i] = pair_of_bf16(sums[at], sums[at + 1]);
      }
      const Words<4> chunk = gathered(pairs);
      const int col = first_col + 8 * (block + lane() % 4);
      if (row < num_rows && col < num_cols) write_words(out.row(row) + col, chunk);
    }
  }
}

/// In fp32: four lanes fill a sector.
ESPALIER_DEVICE void store_sums(const Sums& sums, Rows<float> out, int first_row, int num_rows,
                                int first_col, int num_cols, bool accumulate) {
#pragma unroll
  for (int r = 0; r < 2; ++r) {
    const int row = first_row + group_row(2 * r);
    if (row >= num_rows) continue;
#pragma unroll
    for (int block = 0; block < kTileCols / 8; ++block) {
      const int col = first_col + 8 * block + group_col(0);
      if (col >= num_cols) continue;
      float* to = out.row(row) + col;
      Pack<2> pair{{sums[4 * block + 2 * r], sums[4 * block + 2 * r + 1]}};
      if (accumulate) pair = pair + load(to, Columns<2>{});
      store(to, pair);
    }
  }
}

/// A warpgroup of consumers. One part's products are under way while the next one's are asked for.
template <GroupedKind kKind>
ESPALIER_DEVICE void multiply_parts(const Problem& a, const Stages<kKind>& stages, int num_blocks) {
  constexpr bool kOfWeights = Stages<kKind>::kOfWeights;
  const int group_first = warpgroup() * kGroupRows;
  int iteration = 0;
  for (int tile = static_cast<int>(block_index()); tile < a.tiles.num_all(); tile += num_blocks) {
    const auto place = a.tiles.place(tile);
    const int num_terms = num_terms_of<kKind>(a, place);
    const int num_parts = num_parts_of(num_terms);
    const int first_row = place.row_tile * kTileRows + group_first;
    if (!kOfWeights && first_row >= place.num_rows) {
      // Nothing of the tile is this warpgroup's: the other multiplies alone.
      for (int part = 0; part < num_parts; ++part, ++iteration) {
        stages.full(iteration).wait(stages.parity(iteration));
        if (lane() == 0) stages.empty(iteration).arrive();
      }
      continue;
    }
    Sums sums;
    set_zero(sums);
#pragma unroll 1
    for (int part = 0; part < num_parts; ++part, ++iteration) {
      stages.full(iteration).wait(stages.parity(iteration));
      const auto left = stages.left(iteration);
      const auto right = stages.right(iteration);
      if constexpr (kOfWeights) {
        const int count = num_terms - part * kTerms;
        if (count < kTerms) {
          left.clear_rows(count);
          right.clear_rows(count);
          fence_async_proxy();
          group_barrier(1, kConsumers * kWarpgroupThreads);
        }
      }
      begin_products();
#pragma unroll
      for (int k = 0; k < kTerms / 16; ++k) {
        const std::uint64_t l = left.terms(group_first, k);
        const std::uint64_t r = right.terms(0, k);
        if constexpr (kOfWeights)
          multiply_add_columns(sums, l, r);
        else if constexpr (kKind == GroupedKind::backward_input)
          multiply_add_mixed(sums, l, r);
        else
          multiply_add(sums, l, r);
      }
      end_products();
      wait_for_products<1>();
      if (part > 0 && lane() == 0) stages.empty(iteration - 1).arrive();
    }
    wait_for_products<0>(sums);
    if (num_parts > 0 && lane() == 0) stages.empty(iteration - 1).arrive();
    const int first_col = place.col_tile * kTileCols;
    if constexpr (kOfWeights) {
      const std::int64_t weight_row = (a.first_group + place.group) * a.rows_of_weight;
      store_sums(sums, {a.weight_out.row(weight_row), a.weight_out.stride}, first_row,
                 a.rows_of_weight, first_col, a.num_cols, a.accumulate);
    } else {
      store_rounded(sums, {a.rows_out.row(place.first_row), a.rows_out.stride}, first_row,
                    place.num_rows, first_col, a.num_cols);
    }
  }
}

template <GroupedKind kKind>
ESPALIER_ONE_BLOCK_KERNEL(kWarpgroupBlock)
product_tiles(ESPALIER_GRID_CONSTANT const Problem a) {
  if constexpr (kHasWarpgroupProducts) {
    const Stages<kKind> stages;
    if (thread_index() == 0) {
      prefetch_maps(a.left, a.right);
      stages.make_barriers();
    }
    block_barrier();
    if (warpgroup() == kConsumers) {
      lower_registers<kProducerRegisters>();
      if (thread_index() == kConsumers * kWarpgroupThreads)
        copy_parts(a, stages, a.tiles.num_blocks);
    } else {
      raise_registers<kConsumerRegisters>();
      multiply_parts(a, stages, a.tiles.num_blocks);
    }
  }
}

/// The groups' rows, another number in every step. The stride of a single row is never used, but
/// must be one that a map can have.
TensorMap map_of_rows(const device::ConstView& view, int box_rows) {
  return make_new_tensor_map(view.data, {.rank = 2,
                                         .size = {view.cols, view.rows},
                                         .stride = {1, view.rows > 1 ? view.stride : view.cols},
                                         .box = {kBoxColumns, box_rows}});
}
/// Matrices of rows_of_matrix rows, one under the other.
TensorMap map_of_matrices(const device::ConstView& view, std::int64_t rows_of_matrix,
                          int box_rows) {
  return make_tensor_map(view.data,
                         {.rank = 3,
                          .size = {view.cols, rows_of_matrix, view.rows / rows_of_matrix},
                          .stride = {1, view.stride, rows_of_matrix * view.stride},
                          .box = {kBoxColumns, box_rows, 1}});
}

template <GroupedKind kKind>
void launch_products(const Queue& queue, const GroupedProblem& a) {
  using Shared = Stages<kKind>;
  for_group_launches(a, kTileRows, kTileCols, [&](GroupTiles tiles, std::int64_t first_group) {
    tiles.num_blocks =
        narrow<int>(std::min<std::int64_t>(tiles.num_tiles(), num_multiprocessors()));
    const Problem call{.left = map_of_rows(a.left, Shared::Left::kBoxRows),
                       .right = a.of_weights() ? map_of_rows(a.right, Shared::Right::kBoxRows)
                                               : map_of_matrices(a.right, a.rows_of_weight(),
                                                                 Shared::Right::kBoxRows),
                       .rows_out = a.of_weights() ? Rows<bf16>{} : rows_of<bf16>(a.out),
                       .weight_out = a.of_weights() ? rows_of<float>(a.out) : Rows<float>{},
                       .first_group = first_group,
                       .rows_of_weight = narrow<int>(a.rows_of_weight()),
                       .num_cols = narrow<int>(a.out.cols),
                       .num_terms = narrow<int>(a.left.cols),
                       .accumulate = a.accumulate,
                       .tiles = tiles};
    launch(product_tiles<kKind>,
           {.num_blocks = tiles.num_blocks,
            .block_threads = kWarpgroupBlock,
            .shared_bytes = Shared::kBytes},
           queue, call);
  });
}

}  // namespace wgmma_grouped

bool has_grouped_wgmma() {
  using namespace wgmma_grouped;
  // The emulation says no: it takes the kernels of every GPU, and tests ask for these by name.
  if (compute_capability() != 90) return false;
  static const bool compiled = most_threads(product_tiles<GroupedKind::forward>) >= kWarpgroupBlock;
  return compiled;
}

void grouped_wgmma(const Queue& queue, const GroupedProblem& a) {
  using namespace wgmma_grouped;
  ESPALIER_ASSERT(a.left.dtype == DType::bf16 && all_aligned(a.left, a.right, a.out) &&
                      a.left.cols % 8 == 0 && a.out.cols % 8 == 0,
                  "left {}, right {}, out {}: rows of 16 bytes", describe(a.left),
                  describe(a.right), describe(a.out));
  // There is no tensor map of no rows.
  if (a.left.rows == 0) return grouped_mma(queue, a);
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
