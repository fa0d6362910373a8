// The gradients of attention on Hopper in five products, head_dim 128: a block owns keys, as in
// attention_wgmma_backward.cu, and adds its part of dQ to that of the blocks before it. Every
// element is added to in the order of the keys, so that no sum depends on who is faster
// (validation/attention_instructions, "Backward in five products").
//
// The order costs little if a block rarely waits. All blocks of a kv head take the queries in one
// order, the last ones first, and for each the heads of the group; whoever has more queries to
// take begins earlier. Then a block follows the one before it, a tile or two behind.
#include <algorithm>
#include <bit>
#include <cmath>

#include "kernels/attention/attention_shapes.hpp"
#include "kernels/backends.hpp"
#include "kernels/cuda/attention_gradients.hpp"
#include "kernels/cuda/attention_providers.hpp"
#include "kernels/cuda/block_order.hpp"
#include "kernels/cuda/tiling.hpp"

namespace espalier::kernels::ESPALIER_GPU {
// Named as in attention_wgmma.cu.
namespace wgmma_ordered {

constexpr int kHeadDim = 128;
constexpr int kStages = 2;
/// Tiles of dQ that are on their way to device memory while the next one is computed.
constexpr int kParts = 2;
constexpr int kPartElements = kPassingQueries * kHeadDim;
constexpr int kPartBytes = kPartElements * static_cast<int>(sizeof(float));
/// The copying warpgroup: a thread copies tiles, a warp brings what is known of queries, and two
/// send tiles of dQ, by iterations.
constexpr int kRowWarp = kConsumerWarps + 1;
constexpr int kFirstSender = kConsumerWarps + 2;
/// kv heads whose blocks run at one time. The fewer blocks a head has there, the sooner the last of
/// them may add for the first time; the more, the more of them find in the second-level cache what
/// others have just read and added to. Of 132 multiprocessors a head has 16.
constexpr int kHeadsAtOnce = 8;
/// Named barrier of all consumers; the others are store_rows's.
[[maybe_unused]] constexpr int kAllConsumers = 1 + kConsumers;

/// Maps of what a block owns, keys and values; what passes by, queries and d_o; dK, dV and dQ.
struct Gradients {
  TensorMap own[2], passing[2], results[3];
  Heads<float> d_k, d_v;  ///< instead of their maps where there are blocks of queries
  QueryRows rows;
  float* sums;          ///< (B * A_loc, tiles of queries, kPartElements), as threads hold them
  std::int32_t* added;  ///< (B * A_loc, tiles of queries): how many blocks have added to a tile
  std::int32_t* begun;  ///< how many blocks have begun
  BlockOrder order;
  int num_kv_heads, group, num_query_tiles, kv_length;
  float scale;

  ESPALIER_DEVICE std::int64_t tile_of_head(int b, int head, int tile) const {
    return (static_cast<std::int64_t>(b) * rows.num_q_heads + head) * num_query_tiles + tile;
  }
};

using Own = SwizzledTile<kOwnRows, kHeadDim>;
using Passing = Ring<SwizzledTile<kPassingQueries, kHeadDim>, kStages>;
/// Gradients of scores, (keys, queries).
using Scores = SwizzledTile<kOwnRows, kPassingQueries>;

/// Tiles of dQ between the consumers and those who send them. A place is free when its tile has
/// been added: only then may the next block add its own.
class Parts {
 public:
  static constexpr int kBarriers = 2 * kParts;
  ESPALIER_DEVICE Parts(const SharedArray<float>& places,
                        const SharedArray<std::uint64_t>& barriers)
      : places_(places), barriers_(barriers) {}
  ESPALIER_DEVICE void init() const {
    for (int part = 0; part < kParts; ++part) {
      full(part).init(kConsumerWarps);
      empty(part).init(1);
    }
  }
  ESPALIER_DEVICE void consumer_wait(int iteration) const {
    full(iteration).wait(parity(iteration));
  }
  /// Until the tile of kParts iterations ago has been added.
  ESPALIER_DEVICE void producer_acquire(int iteration) const {
    empty(iteration).wait(parity(iteration) ^ 1);
  }
  /// Until all tiles of so many iterations have been added.
  ESPALIER_DEVICE void producer_tail(int num_iterations) const {
#pragma unroll
    for (int iteration = num_iterations; iteration < num_iterations + kParts; ++iteration)
      empty(iteration).wait(parity(iteration) ^ 1);
  }
  ESPALIER_DEVICE void consumer_release(int iteration) const {
    empty(iteration).arrive();
  }
  ESPALIER_DEVICE std::uint32_t address(int iteration) const {
    return places_.address(iteration % kParts * kPartElements);
  }
  /// By all consumers: a warpgroup's results are 64 columns of the tile. Four neighbours of a
  /// thread lie together, those of the warpgroup's threads side by side.
  ESPALIER_DEVICE void put(int iteration, const float (&results)[kGroupRows / 2]) const {
    producer_acquire(iteration);
    const int first = iteration % kParts * kPartElements + offset(warpgroup());
#pragma unroll
    for (int i = 0; i < kGroupRows / 2; i += 4)
      places_.template write_words<4>(
          first + i * kWarpgroupThreads,
          {{std::bit_cast<std::uint32_t>(results[i]), std::bit_cast<std::uint32_t>(results[i + 1]),
            std::bit_cast<std::uint32_t>(results[i + 2]),
            std::bit_cast<std::uint32_t>(results[i + 3])}});
    fence_async_proxy();
    warp_barrier();
    if (lane() == 0) full(iteration).arrive();
  }
  /// The thread's results of a whole tile, 64 x D, from the sums in device memory.
  ESPALIER_DEVICE static void read(float (&results)[kHeadDim / 2], const float* sums) {
#pragma unroll
    for (int i = 0; i < kHeadDim / 2; i += 4) {
      const int in_half = i % (kGroupRows / 2);
      const Words<4> words = read_sums<4>(sums + offset(i / (kGroupRows / 2)) +
                                          static_cast<std::int64_t>(in_half) * kWarpgroupThreads);
#pragma unroll
      for (int j = 0; j < 4; ++j) results[i + j] = std::bit_cast<float>(words.at[j]);
    }
  }

 private:
  ESPALIER_DEVICE static int offset(int half) {
    return half * (kPartElements / kConsumers) + thread_index() % kWarpgroupThreads * 4;
  }
  ESPALIER_DEVICE static int parity(int iteration) {
    return iteration / kParts % 2;
  }
  ESPALIER_DEVICE Barrier full(int iteration) const {
    return Barrier{barriers_.address(iteration % kParts)};
  }
  ESPALIER_DEVICE Barrier empty(int iteration) const {
    return Barrier{barriers_.address(kParts + iteration % kParts)};
  }
  SharedArray<float> places_;
  SharedArray<std::uint64_t> barriers_;
};

/// The shared memory of a block.
struct Tiles {
  static constexpr int kBarriers = 1 + 2 * Passing::kBarriers + Parts::kBarriers;
  static constexpr std::int64_t kBytes =
      2 * shared_bytes<bf16>(Own::kElements) + 2 * shared_bytes<bf16>(Passing::kElements) +
      shared_bytes<bf16>(2 * Scores::kElements) + shared_bytes<float>(kParts * kPartElements) +
      PassingRows<kStages>::kBytes + shared_bytes<std::uint64_t>(kBarriers) +
      shared_bytes<std::int32_t>(1);

  SharedAllocator shared;
  Own own[2] = {Own(shared.take<bf16>(Own::kElements)), Own(shared.take<bf16>(Own::kElements))};
  SharedArray<bf16> places[2] = {shared.take<bf16>(Passing::kElements),
                                 shared.take<bf16>(Passing::kElements)};
  SharedArray<bf16> scores_places = shared.take<bf16>(2 * Scores::kElements);
  SharedArray<float> parts_places = shared.take<float>(kParts * kPartElements);
  PassingRows<kStages> rows{shared};
  SharedArray<std::uint64_t> barriers = shared.take<std::uint64_t>(kBarriers);
  SharedArray<std::int32_t> begun = shared.take<std::int32_t>(1);
  Barrier own_come{barriers.address(0)};
  Passing passing[2] = {
      Passing(places[0], barriers.part(1, Passing::kBarriers)),
      Passing(places[1], barriers.part(1 + Passing::kBarriers, Passing::kBarriers))};
  Parts parts{parts_places, barriers.part(1 + 2 * Passing::kBarriers, Parts::kBarriers)};

  /// Of two iterations: who is ahead may write the next one's while the other still multiplies.
  ESPALIER_DEVICE Scores scores(int iteration) const {
    return Scores(scores_places.part(iteration % 2 * Scores::kElements, Scores::kElements));
  }
  ESPALIER_DEVICE static int row(int iteration) {
    return Passing::stage(iteration) * kPassingQueries;
  }

  /// By all threads. Returns how many blocks have begun before this one.
  ESPALIER_DEVICE int begin(const Gradients& a) const {
    if (thread_index() == 0) {
      own_come.init(1);
      passing[0].init(2);
      passing[1].init();
      parts.init();
      publish_barriers();
      begun.set(0, count_one(a.begun));
    }
    block_barrier();
    return same_in_warp(begun.get(0));
  }
};

/// The keys of a block. Blocks take them in the order in which they begin: nobody waits for one
/// that has not.
struct Place {
  int key_tile, kv_head, b;

  ESPALIER_DEVICE int first_key() const { return key_tile * kOwnRows; }
};
ESPALIER_DEVICE Place place_of(const Gradients& a, int begun) {
  const auto [head, tile] = a.order.place(begun);
  return {tile, head % a.num_kv_heads, head / a.num_kv_heads};
}
/// The tiles of queries that see any of them, the same numbers in all lanes of a warp.
template <bool kBlocks>
ESPALIER_DEVICE QueryTiles queries_of(const Gradients& a, const Place& place) {
  const QueryTiles tiles = tiles_of_queries<kBlocks>(a.rows, place.b, place.first_key());
  // Without blocks the compiler knows it from the keys.
  return {kBlocks ? same_in_warp(tiles.first) : tiles.first, same_in_warp(tiles.end)};
}
/// visit(iteration, head, tile of queries). Returns the number of iterations.
template <class Visit>
ESPALIER_DEVICE int for_each_iteration(const Gradients& a, const Place& place,
                                       const QueryTiles& queries, const Visit& visit) {
  int iteration = 0;
#pragma unroll 1
  for (int tile = queries.end - 1; tile >= queries.first; --tile)
#pragma unroll 1
    for (int i = 0; i < a.group; ++i, ++iteration)
      visit(iteration, place.kv_head * a.group + i, tile);
  return iteration;
}

/// By a warp, an iteration after the other: what is known of the queries.
template <bool kBlocks>
ESPALIER_DEVICE void load_rows(const Gradients& a, const Place& place, const QueryTiles& queries,
                               const Tiles& tiles) {
  for_each_iteration(a, place, queries, [&](int iteration, int head, int tile) {
    const int first_query = tile * kPassingQueries;
    const int position =
        kBlocks ? first_query + a.rows.positions.offset(place.b, first_query) : first_query;
    tiles.passing[0].producer_acquire(iteration);
    if (kBlocks && lane() == 0) tiles.rows.position.set(Passing::stage(iteration), position);
#pragma unroll 1
    for (int i = lane(); i < kPassingQueries; i += kWarpSize)
      tiles.rows.set(tiles.row(iteration) + i,
                     query_of(a.rows, place.b, head, tile * kPassingQueries + i));
    warp_barrier();
    if (lane() == 0) tiles.passing[0].producer_commit(iteration);
  });
}

/// By one thread of each sending warp: every other tile of dQ is added to what the blocks with
/// earlier keys have added, when they have.
ESPALIER_DEVICE void send_parts(const Gradients& a, const Place& place, const QueryTiles& queries,
                                const Tiles& tiles, int sender) {
  for_each_iteration(a, place, queries, [&](int iteration, int head, int tile) {
    if (iteration % kParts != sender) return;
    const std::int64_t at = a.tile_of_head(place.b, head, tile);
    // The first query of the tile sees the most of the document starts.
    const int before =
        place.key_tile - first_key_of(a.rows, place.b, tile * kPassingQueries) / kOwnRows;
    if (before > 0) wait_for_count(a.added + at, before);
    tiles.parts.consumer_wait(iteration);
    if (before > 0)
      add_floats(a.sums + at * kPartElements, tiles.parts.address(iteration), kPartBytes);
    else
      store_floats(a.sums + at * kPartElements, tiles.parts.address(iteration), kPartBytes);
    commit_stores();
    complete_stores<0>();
    publish_count(a.added + at, before + 1);
    tiles.parts.consumer_release(iteration);
  });
}

/// dK and dV of a warpgroup's 64 keys, over all heads of the group and all queries that see any of
/// the block's, and 64 columns of the block's part of dQ. Scores are taken transposed.
template <bool kBlocks>
ESPALIER_DEVICE int sum_over_queries(const Gradients& a, const Place& own,
                                     const QueryTiles& query_tiles, const Tiles& tiles) {
  constexpr int kCount = kPassingQueries / 2;
  const int group_first = warpgroup() * kGroupRows;
  const int first_key = own.first_key() + group_first;
  const float scale = a.scale * kLog2OfE;
  float d_k[kHeadDim / 2], d_v[kHeadDim / 2];
  set_zero(d_k);
  set_zero(d_v);
  tiles.own_come.wait(0);
  const int num_iterations =
      for_each_iteration(a, own, query_tiles, [&](int iteration, int, int tile) {
        const auto queries = tiles.passing[0].tile(iteration);
        const auto d_outs = tiles.passing[1].tile(iteration);
        const Scores scores = tiles.scores(iteration);
        const int first_row = tiles.row(iteration);
        // Not outside of the loop: the compiler would keep what is left of the iteration before.
        float p[kCount], d_s[kCount], d_q[kGroupRows / 2];
        std::uint32_t left_p[kPassingQueries / 16][4], left_d_s[kPassingQueries / 16][4];
        QueryColumns lse, delta;
        begin_scores_and_gradients(p, d_s, tiles, group_first, iteration);

        read_columns(lse, tiles.rows.lse, first_row);
        wait_for_products<1>(p);
        hide_unseen<kBlocks>(p, a.rows, tiles.rows, first_row, first_key, tile * kPassingQueries);
#pragma unroll
        for (int i = 0; i < kCount; ++i) p[i] = fast_exp2(fmaf(p[i], scale, -lse[column(i)]));
        pack<kPassingQueries>(left_p, p);
        begin_products(d_v, left_p);
        add_product<kPassingQueries, kHeadDim>(d_v, left_p, d_outs);
        end_products();

        wait_for_products<1>(d_s);
        read_columns(delta, tiles.rows.delta, first_row);
#pragma unroll
        for (int i = 0; i < kCount; ++i) d_s[i] = p[i] * (d_s[i] - delta[column(i)]);
        pack<kPassingQueries>(left_d_s, d_s);
#pragma unroll
        for (int i = 0; i < kCount; i += 2)
          scores.set_pair(group_first + group_row(i), group_col(i), left_d_s[i / 8][i % 8 / 2]);
        fence_async_proxy();
        group_barrier(kAllConsumers, kConsumers * kWarpgroupThreads);
        begin_products();
#pragma unroll
        for (int k = 0; k < kOwnRows / 16; ++k)
          if (k == 0)
            multiply_columns(d_q, scores.columns(k), tiles.own[0].columns(k, warpgroup()));
          else
            multiply_add_columns(d_q, scores.columns(k), tiles.own[0].columns(k, warpgroup()));
        end_products();
        begin_products(d_k, left_d_s);
        add_product<kPassingQueries, kHeadDim>(d_k, left_d_s, queries);
        end_products();
        wait_for_products<1>(d_v, left_p, d_q);
        tiles.passing[1].consumer_release(iteration);
        tiles.parts.put(iteration, d_q);
        wait_for_products<0>(d_k, left_d_s);
        warp_barrier();  // all lanes have read the rows, and one of them gives their place back
        tiles.passing[0].consumer_release(iteration);
      });
  // Both have multiplied with all keys and queries; what they write now lies in their place.
  group_barrier(kAllConsumers, kConsumers * kWarpgroupThreads);
  // Computed again rather than kept: no register is free in the loop.
  const Place place = place_of(a, tiles.begun.get(0));
  if constexpr (kBlocks) {
    const int first_row = place.first_key() + group_first;
    store_sums<kHeadDim>(a.d_k.at(place.b, a.kv_length, place.kv_head, kHeadDim), a.d_k.stride,
                         first_row, d_k, a.scale);
    store_sums<kHeadDim>(a.d_v.at(place.b, a.kv_length, place.kv_head, kHeadDim), a.d_v.stride,
                         first_row, d_v, 1.0f);
  } else {
    store_rows(tiles.own[0], group_first, d_k, {a.scale, a.scale}, a.results[0], place.kv_head,
               place.first_key(), place.b);
    store_rows(tiles.own[1], group_first, d_v, {1.0f, 1.0f}, a.results[1], place.kv_head,
               place.first_key(), place.b);
  }
  return num_iterations;
}

/// dQ of the queries beside the block's keys, which no later key is seen by: rounded, when the last
/// tiles of the block have been added. A warpgroup has 64 queries of each head. Where there are
/// blocks of queries, another rank may have those.
template <bool kBlocks>
ESPALIER_DEVICE void round_sums(const Gradients& a, int num_iterations, const Tiles& tiles) {
  tiles.parts.producer_tail(num_iterations);
  const Place place = place_of(a, tiles.begun.get(0));
  const int first_query =
      kBlocks ? a.rows.positions.first_query_from(place.b, place.first_key()) : place.first_key();
  const int query_tile = first_query / kPassingQueries + warpgroup();
  const bool here = query_tile * kPassingQueries < a.rows.length &&
                    (!kBlocks || first_query + a.rows.positions.offset(place.b, first_query) ==
                                     place.first_key());
  if (here)
#pragma unroll 1
    for (int head = place.kv_head * a.group; head < (place.kv_head + 1) * a.group; ++head) {
      float d_q[kHeadDim / 2];
      Parts::read(d_q, a.sums + a.tile_of_head(place.b, head, query_tile) * kPartElements);
      finish_stores();
      store_rows(tiles.passing[0].tile(warpgroup()), 0, d_q, {a.scale, a.scale}, a.results[2], head,
                 query_tile * kPassingQueries, place.b);
    }
  finish_stores();
}

template <bool kBlocks>
ESPALIER_ONE_BLOCK_KERNEL(kWarpgroupBlock)
gradients(ESPALIER_GRID_CONSTANT const Gradients a) {
  if constexpr (kHasWarpgroupProducts) {
    const Tiles tiles;
    if (thread_index() == 0) {
      prefetch_maps(a.own[0], a.own[1], a.passing[0], a.passing[1], a.results[2]);
      if constexpr (!kBlocks) prefetch_maps(a.results[0], a.results[1]);
    }
    const Place place = place_of(a, tiles.begin(a));
    const QueryTiles queries = queries_of<kBlocks>(a, place);
    if (warpgroup() < kConsumers) {
      raise_registers<kConsumerRegisters>();
      round_sums<kBlocks>(a, sum_over_queries<kBlocks>(a, place, queries, tiles), tiles);
      return;
    }
    lower_registers<kProducerRegisters>();
    if (warp() == kRowWarp) return load_rows<kBlocks>(a, place, queries, tiles);
    if (lane() != 0) return;
    if (warp() >= kFirstSender) return send_parts(a, place, queries, tiles, warp() - kFirstSender);
    tiles.own_come.arrive_expecting(2 * Own::kBytes);
    tiles.own[0].load(a.own[0], place.kv_head, place.first_key(), place.b, tiles.own_come);
    tiles.own[1].load(a.own[1], place.kv_head, place.first_key(), place.b, tiles.own_come);
    for_each_iteration(a, place, queries, [&](int iteration, int head, int tile) {
      tiles.passing[0].load(iteration, a.passing[0], head, tile * kPassingQueries, place.b);
      tiles.passing[1].load(iteration, a.passing[1], head, tile * kPassingQueries, place.b);
    });
  }
}

}  // namespace wgmma_ordered

void attention_backward_ordered(const Queue& queue, const AttentionBackward& a) {
  using namespace wgmma_ordered;
  const AttentionShape& s = a.shape;
  const std::int64_t query_tiles = div_ceil(s.query_length, std::int64_t{kPassingQueries});
  const std::int64_t head_tiles = s.batch * s.num_q_heads * query_tiles;
  const OrderedScratch scratch = ordered_scratch(s);
  ESPALIER_ASSERT(s.head_dim == kHeadDim && a.scratch.size() >= scratch.num_elements &&
                      reinterpret_cast<std::uintptr_t>(a.scratch.data) % 16 == 0,
                  "head_dim {}, scratch {}: so many elements from a multiple of 16 bytes",
                  s.head_dim, describe(a.scratch));
  auto* floats = a.scratch.as<float>();
  auto* counts = reinterpret_cast<std::int32_t*>(floats + scratch.counts);
  const auto map_q = [&](const device::ConstView& view) {
    return map_of_heads(view, s.batch, s.num_q_heads, s.head_dim, kPassingQueries);
  };
  const auto map_kv = [&](const device::ConstView& view, int box_rows) {
    return map_of_heads(view, s.batch, s.num_kv_heads, s.head_dim, box_rows);
  };
  const int heads = narrow<int>(s.batch * s.num_kv_heads);
  const bool blocks = s.block_length > 0;
  const Gradients arguments{
      .own = {map_kv(a.k, kOwnRows), map_kv(a.v, kOwnRows)},
      .passing = {map_q(a.q), map_q(a.d_o)},
      .results = {blocks ? TensorMap{} : map_kv(a.d_k, kGroupRows),
                  blocks ? TensorMap{} : map_kv(a.d_v, kGroupRows), map_q(a.d_q)},
      .d_k = blocks ? heads_of<float>(a.d_k) : Heads<float>{},
      .d_v = blocks ? heads_of<float>(a.d_v) : Heads<float>{},
      .rows = query_rows(a),
      .sums = floats + scratch.sums,
      .added = counts + 1,
      .begun = counts,
      .order = {.num_heads = heads,
                .num_tiles = narrow<int>(div_ceil(s.kv_length, std::int64_t{kOwnRows})),
                .section = std::min(kHeadsAtOnce, heads)},
      .num_kv_heads = narrow<int>(s.num_kv_heads),
      .group = narrow<int>(div_exact(s.num_q_heads, s.num_kv_heads)),
      .num_query_tiles = narrow<int>(query_tiles),
      .kv_length = narrow<int>(s.kv_length),
      .scale = 1.0f / std::sqrt(static_cast<float>(s.head_dim))};
  attention_delta(queue, a);
  set_zero(queue, device::view_of(floats + scratch.counts, 1, 1 + head_tiles));
  launch(blocks ? gradients<true> : gradients<false>,
         {arguments.order.num_blocks(), kWarpgroupBlock, Tiles::kBytes}, queue, arguments);
}

}  // namespace espalier::kernels::ESPALIER_GPU
