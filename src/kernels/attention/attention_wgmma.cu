// Attention on Hopper: FlashAttention-3 (Shah et al. 2024). One warpgroup copies tiles of keys and
// values by the tensor memory accelerator, two multiply, each for 64 queries; the scores of a tile
// are computed beside the sum of values of the tile before, whose probabilities stay in registers.
// The two begin their products in turn: the softmax of one runs beside the products of the other.
#include "kernels/cuda/attention_providers.hpp"

#include "kernels/backends.hpp"
#include "kernels/cuda/attention_warpgroups.hpp"
#include "kernels/cuda/block_order.hpp"
#include "kernels/cuda/query_positions.hpp"
#include "kernels/cuda/tiling.hpp"

namespace espalier::kernels::ESPALIER_GPU {
// It has a name because nvcc warns of what is not used in one without, and for targets without
// warpgroup products nothing here is.
namespace wgmma_forward {

constexpr int kQueries = kConsumers * kGroupRows;  ///< of a block
constexpr int kKeys = 128;                         ///< of a tile
/// As many as there is room for, up to four: a place is free only when the slower consumer is done.
template <int kHeadDim>
constexpr int kStages = kHeadDim <= 64 ? 4 : 2;

struct Forward {
  TensorMap q, k, v, o;
  float* lse;
  const std::int32_t* document_start;  ///< nullptr: a query sees all keys before it
  std::int64_t lse_stride;
  BlockOrder order;
  QueryPositions positions;
  int num_q_heads, group;  ///< group: query heads of one kv head
  int query_length;
  float scale;
};

/// What one block computes: a tile of queries of head h of sequence b, and the tiles of keys that
/// they see. The last queries see most keys: they go first, so that blocks end together.
struct Place {
  int first_query, h, b;
  int first_position;  ///< of first_query
  int first_tile, num_iterations;

  /// Keys are taken from the last on: those that need a mask come first.
  ESPALIER_DEVICE int first_key(int iteration) const {
    return (first_tile + num_iterations - 1 - iteration) * kKeys;
  }
};
/// The first key that a query sees.
ESPALIER_DEVICE int first_key_of(const Forward& a, int b, int query) {
  return a.document_start != nullptr
             ? read_element(a.document_start + static_cast<std::int64_t>(b) * a.query_length +
                            query)
             : 0;
}
ESPALIER_DEVICE Place place_of(const Forward& a, std::int64_t block) {
  const auto [head, tile] = a.order.place(block);
  Place place;
  place.first_query = (a.order.num_tiles - 1 - tile) * kQueries;
  place.h = head % a.num_q_heads;
  place.b = head / a.num_q_heads;
  const int end =
      place.first_query + kQueries < a.query_length ? place.first_query + kQueries : a.query_length;
  // The first document in the tile begins first.
  place.first_tile = first_key_of(a, place.b, place.first_query) / kKeys;
  const int offset = a.positions.offset(place.b, place.first_query);
  place.first_position = offset + place.first_query;
  place.num_iterations = (offset + end - 1) / kKeys - place.first_tile + 1;
  return place;
}

/// The shared memory of a block. Tiles begin at multiples of 1024 bytes, because each is one.
template <int kHeadDim>
struct Tiles {
  using QueryTile = SwizzledTile<kQueries, kHeadDim>;
  using KeyRing = Ring<SwizzledTile<kKeys, kHeadDim>, kStages<kHeadDim>>;
  static constexpr int kBarriers = 1 + 2 * KeyRing::kBarriers;
  static constexpr std::int64_t kBytes = shared_bytes<bf16>(QueryTile::kElements) +
                                         2 * shared_bytes<bf16>(KeyRing::kElements) +
                                         shared_bytes<std::uint64_t>(kBarriers);

  SharedAllocator shared;
  QueryTile queries{shared.take<bf16>(QueryTile::kElements)};
  SharedArray<bf16> key_places = shared.take<bf16>(KeyRing::kElements);
  SharedArray<bf16> value_places = shared.take<bf16>(KeyRing::kElements);
  SharedArray<std::uint64_t> barriers = shared.take<std::uint64_t>(kBarriers);
  Barrier queries_come{barriers.address(0)};
  KeyRing keys{key_places, barriers.part(1, KeyRing::kBarriers)};
  KeyRing values{value_places, barriers.part(1 + KeyRing::kBarriers, KeyRing::kBarriers)};
};

/// The thread that copies, in the order in which tiles are used: keys of an iteration before the
/// values of the iteration before, whose places are free later.
template <int kHeadDim>
ESPALIER_DEVICE void copy_tiles(const Forward& a, const Place& place,
                                const Tiles<kHeadDim>& tiles) {
  const int kv_head = place.h / a.group;
  tiles.queries_come.arrive_expecting(Tiles<kHeadDim>::QueryTile::kBytes);
  tiles.queries.load(a.q, place.h, place.first_query, place.b, tiles.queries_come);
#pragma unroll 1
  for (int iteration = 0; iteration <= place.num_iterations; ++iteration) {
    if (iteration < place.num_iterations)
      tiles.keys.load(iteration, a.k, kv_head, place.first_key(iteration), place.b);
    if (iteration > 0)
      tiles.values.load(iteration - 1, a.v, kv_head, place.first_key(iteration - 1), place.b);
  }
}

/// One of the two queries of which a thread holds scores.
struct Row {
  int query;      ///< of the sequence
  int position;   ///< the last key that it sees
  int first_key;  ///< and the first
  float maximum = kHidden;
  float sum = 0.0f;  ///< over the thread's own columns
};
ESPALIER_DEVICE Row row_of(const Forward& a, const Place& place, int second) {
  const int row = warpgroup() * kGroupRows + group_row(2 * second);
  const int query = place.first_query + row;
  return {query, place.first_position + row,
          query < a.query_length ? first_key_of(a, place.b, query) : 0};
}

using Scores = float[kKeys / 2];

ESPALIER_DEVICE void hide_unseen(Scores& scores, const Row (&rows)[2], int first_key) {
#pragma unroll
  for (int i = 0; i < kKeys / 2; ++i) {
    const Row& row = rows[i / 2 % 2];
    const int key = first_key + group_col(i);
    if (key > row.position || key < row.first_key) scores[i] = kHidden;
  }
}

/// The scores of row `r` become probabilities beside the new maximum. Returns the factor by which
/// what was summed before has to shrink.
ESPALIER_DEVICE float weigh(Row& row, Scores& scores, int r, float scale) {
  float maximum = row.maximum;
#pragma unroll
  for (int i = 2 * r; i < kKeys / 2; i += 4)
    maximum = fmaxf(maximum, fmaxf(scores[i], scores[i + 1]));
  maximum = fmaxf(maximum, shuffle_xor(maximum, 1));
  maximum = fmaxf(maximum, shuffle_xor(maximum, 2));
  const float fade = fast_exp2((row.maximum - maximum) * scale);
  // All hidden so far: the maximum is no score to be compared with, and the product would be
  // rounded by more than 2^x can bear.
  const float shift = maximum > kHidden ? maximum * scale : 0.0f;
  float sum = 0.0f;
#pragma unroll
  for (int i = 2 * r; i < kKeys / 2; i += 4)
#pragma unroll
    for (int j = i; j < i + 2; ++j) {
      scores[j] = fast_exp2(fmaf(scores[j], scale, -shift));
      sum += scores[j];
    }
  row.maximum = maximum;
  row.sum = row.sum * fade + sum;
  return fade;
}

/// A warpgroup of consumers.
template <int kHeadDim>
ESPALIER_DEVICE void attend(const Forward& a, const Place& place, const Tiles<kHeadDim>& tiles) {
  const int group_first = warpgroup() * kGroupRows;
  const int first_query = place.first_query + group_first;
  const int first_position = place.first_position + group_first;
  // The last query sees the fewest of the document starts.
  const int last_first_key =
      first_key_of(a, place.b,
                   first_query + kGroupRows < a.query_length ? first_query + kGroupRows - 1
                                                             : a.query_length - 1);
  const float scale = a.scale * kLog2OfE;
  // Of the first scores and the last sums there is only one each: nothing to alternate with.
  const Alternation alternation(place.num_iterations - 1);
  Row rows[2] = {row_of(a, place, 0), row_of(a, place, 1)};
  Scores scores;
  float output[kHeadDim / 2];
  std::uint32_t weights[kKeys / 16][4];
  float fades[2];
  set_zero(output);

  const auto start_scores = [&](int iteration) {
    begin_products();
    multiply_rows(scores, tiles.queries, group_first, tiles.keys.tile(iteration));
    end_products();
  };
  const auto start_sums = [&](int iteration) {
    tiles.values.consumer_wait(iteration);
    begin_products(output, weights);
    add_product<kKeys, kHeadDim>(output, weights, tiles.values.tile(iteration));
    end_products();
  };
  const auto softmax = [&](int iteration) {
    const int first_key = place.first_key(iteration);
    if (first_key + kKeys > first_position + 1 || first_key < last_first_key)
      hide_unseen(scores, rows, first_key);
#pragma unroll
    for (int r = 0; r < 2; ++r) fades[r] = weigh(rows[r], scores, r, scale);
  };

  tiles.queries_come.wait(0);
  tiles.keys.consumer_wait(0);
  start_scores(0);
  wait_for_products<0>(scores);
  tiles.keys.consumer_release(0);
  softmax(0);
  pack<kKeys>(weights, scores);
#pragma unroll 1
  for (int iteration = 1; iteration < place.num_iterations; ++iteration) {
    tiles.keys.consumer_wait(iteration);
    alternation.wait(iteration - 1);
    start_scores(iteration);
    start_sums(iteration - 1);
    alternation.pass_on(iteration - 1);
    wait_for_products<1>(scores);
    tiles.keys.consumer_release(iteration);
    softmax(iteration);
    // The values have arrived already (start_sums waited for them): this wait only keeps the one
    // for products behind the softmax. ptxas moves that freely but not out of its basic block.
    tiles.values.consumer_wait(iteration - 1);
    wait_for_products<0>(output, weights);
    tiles.values.consumer_release(iteration - 1);
#pragma unroll
    for (int i = 0; i < kHeadDim / 2; ++i) output[i] *= fades[i / 2 % 2];
    pack<kKeys>(weights, scores);
  }
  start_sums(place.num_iterations - 1);
  wait_for_products<0>(output, weights);

  float factors[2];
#pragma unroll
  for (int r = 0; r < 2; ++r) {
    const float sum = group_sum(rows[r].sum, 4);
    factors[r] = 1.0f / sum;
    if (rows[r].query < a.query_length && lane() % 4 == 0)
      write_element(
          a.lse + (static_cast<std::int64_t>(place.b) * a.num_q_heads + place.h) * a.lse_stride +
              rows[r].query,
          rows[r].maximum * a.scale + logf(sum));
  }
  store_rows(tiles.queries, group_first, output, factors, a.o, place.h, place.first_query, place.b);
  finish_stores();
}

template <int kHeadDim>
ESPALIER_ONE_BLOCK_KERNEL(kWarpgroupBlock)
forward_tile(ESPALIER_GRID_CONSTANT const Forward a) {
  if constexpr (kHasWarpgroupProducts) {
    const Tiles<kHeadDim> tiles;
    const Place place = place_of(a, block_index());
    if (thread_index() == 0) {
      prefetch_maps(a.q, a.k, a.v, a.o);
      tiles.queries_come.init(1);
      tiles.keys.init();
      tiles.values.init();
      publish_barriers();
    }
    block_barrier();
    if (warpgroup() == kConsumers) {
      lower_registers<kProducerRegisters>();
      if (thread_index() == kConsumers * kWarpgroupThreads) copy_tiles(a, place, tiles);
    } else {
      raise_registers<kConsumerRegisters>();
      attend(a, place, tiles);
    }
  }
}

template <int kHeadDim>
void launch_forward(const Queue& queue, const Forward& a) {
  launch(forward_tile<kHeadDim>,
         {.num_blocks = a.order.num_blocks(),
          .block_threads = kWarpgroupBlock,
          .shared_bytes = Tiles<kHeadDim>::kBytes},
         queue, a);
}

}  // namespace wgmma_forward

std::string missing_in_warpgroup_code() {
  // All kernels of warpgroups are compiled for the same targets.
  if (most_threads(wgmma_forward::forward_tile<128>) >= kWarpgroupBlock) return "";
  return "kernels compiled for 90a: build this program with -DESPALIER_CUDA_ARCHITECTURES=90a";
}

void attention_forward_wgmma(const Queue& queue, const AttentionForward& a) {
  using namespace wgmma_forward;
  const AttentionShape& s = a.shape;
  ESPALIER_ASSERT(a.q.dtype == DType::bf16 && (s.head_dim == 64 || s.head_dim == 128),
                  "q {}, head_dim {}", describe(a.q), s.head_dim);
  ESPALIER_ASSERT(a.q.rows == s.batch * s.query_length && a.q.cols == s.num_q_heads * s.head_dim &&
                      a.k.rows == s.batch * s.kv_length &&
                      a.k.cols == s.num_kv_heads * s.head_dim && a.v.rows == a.k.rows &&
                      a.v.cols == a.k.cols && a.o.rows == a.q.rows && a.o.cols == a.q.cols &&
                      a.lse.rows == s.batch * s.num_q_heads && a.lse.cols == s.query_length &&
                      s.first_query_position + s.query_length <= s.kv_length,
                  "q {}, k {}, v {}, o {}, lse {}", describe(a.q), describe(a.k), describe(a.v),
                  describe(a.o), describe(a.lse));
  ESPALIER_ASSERT(all_aligned(a.q, a.k, a.v, a.o), "q {}, k {}, v {}, o {}: rows of 16 bytes",
                  describe(a.q), describe(a.k), describe(a.v), describe(a.o));
  const auto map = [&](const device::ConstView& view, std::int64_t num_heads, int box_rows) {
    return map_of_heads(view, s.batch, num_heads, s.head_dim, box_rows);
  };
  const bool documents = a.document_start.data != nullptr;
  const int group = narrow<int>(div_exact(s.num_q_heads, s.num_kv_heads));
  const Forward arguments{
      .q = map(a.q, s.num_q_heads, kQueries),
      .k = map(a.k, s.num_kv_heads, kKeys),
      .v = map(a.v, s.num_kv_heads, kKeys),
      .o = map(a.o, s.num_q_heads, kGroupRows),
      .lse = a.lse.as<float>(),
      .document_start = documents ? a.document_start.as<std::int32_t>() : nullptr,
      .lse_stride = a.lse.stride,
      .order = BlockOrder::of(narrow<int>(s.batch * s.num_q_heads),
                              narrow<int>(div_ceil(s.query_length, kQueries)), group,
                              2 * s.kv_length * s.head_dim * std::int64_t{sizeof(bf16)}),
      .positions = query_positions(a),
      .num_q_heads = narrow<int>(s.num_q_heads),
      .group = group,
      .query_length = narrow<int>(s.query_length),
      .scale = 1.0f / std::sqrt(static_cast<float>(s.head_dim))};
  if (s.head_dim == 64)
    launch_forward<64>(queue, arguments);
  else
    launch_forward<128>(queue, arguments);
}

}  // namespace espalier::kernels::ESPALIER_GPU
