// The gradients of attention on Hopper, by warpgroups as in attention_wgmma.cu and without atomics
// as in attention_mma_backward.cu: one kernel owns keys and takes the queries of all heads of their
// group by iterations, one owns queries and takes keys. Probabilities and gradients of scores go
// from the results of one product to the left operand of the next in registers.
#include "kernels/attention/attention_shapes.hpp"
#include "kernels/backends.hpp"
#include "kernels/cuda/attention_gradients.hpp"
#include "kernels/cuda/attention_providers.hpp"
#include "kernels/cuda/block_order.hpp"
#include "kernels/cuda/tiling.hpp"

namespace espalier::kernels::ESPALIER_GPU {
// Named as in attention_wgmma.cu.
namespace wgmma_backward {

constexpr int kPassingKeys = 128;
/// Of tiles of up to 16 KiB four have room; a place is free only when the slower consumer is done.
template <int kPassingRows, int kHeadDim>
constexpr int kStages = kPassingRows* kHeadDim <= 8192 ? 4 : 2;

/// Maps by what they are to a kernel: two tiles that a block owns, two that pass by, and its
/// results.
struct Backward {
  TensorMap own[2], passing[2], results[2];
  Heads<float> sums[2];  ///< instead of results: dK and dV where there are blocks of queries
  QueryRows rows;
  BlockOrder order;
  int num_kv_heads, group, kv_length;
  float scale;
};

/// By one thread.
ESPALIER_DEVICE void prefetch_tiles(const Backward& a) {
  prefetch_maps(a.own[0], a.own[1], a.passing[0], a.passing[1]);
}

/// The shared memory of a block.
template <int kPassingRows, int kHeadDim>
struct Tiles {
  using Own = SwizzledTile<kOwnRows, kHeadDim>;
  using Passing = Ring<SwizzledTile<kPassingRows, kHeadDim>, kStages<kPassingRows, kHeadDim>>;
  static constexpr int kBarriers = 1 + 2 * Passing::kBarriers;
  static constexpr std::int64_t kBytes = 2 * shared_bytes<bf16>(Own::kElements) +
                                         2 * shared_bytes<bf16>(Passing::kElements) +
                                         shared_bytes<std::uint64_t>(kBarriers);

  SharedAllocator shared;
  Own own[2] = {Own(shared.take<bf16>(Own::kElements)), Own(shared.take<bf16>(Own::kElements))};
  SharedArray<bf16> places[2] = {shared.take<bf16>(Passing::kElements),
                                 shared.take<bf16>(Passing::kElements)};
  SharedArray<std::uint64_t> barriers = shared.take<std::uint64_t>(kBarriers);
  Barrier own_come{barriers.address(0)};
  Passing passing[2] = {
      Passing(places[0], barriers.part(1, Passing::kBarriers)),
      Passing(places[1], barriers.part(1 + Passing::kBarriers, Passing::kBarriers))};

  /// By all threads. num_loaders: of the first tile that passes.
  ESPALIER_DEVICE void make_barriers(int num_loaders) const {
    if (thread_index() == 0) {
      own_come.init(1);
      passing[0].init(num_loaders);
      passing[1].init();
      publish_barriers();
    }
    block_barrier();
  }
  /// By the thread that copies.
  ESPALIER_DEVICE void load_own(const Backward& a, int head, int first_row, int b) const {
    own_come.arrive_expecting(2 * Own::kBytes);
    own[0].load(a.own[0], head, first_row, b, own_come);
    own[1].load(a.own[1], head, first_row, b, own_come);
  }
  ESPALIER_DEVICE void load_passing(const Backward& a, int iteration, int head, int first_row,
                                    int b) const {
    passing[0].load(iteration, a.passing[0], head, first_row, b);
    passing[1].load(iteration, a.passing[1], head, first_row, b);
  }
};

/// What a block that owns keys computes. By iterations it takes the tiles of queries of one head
/// after the other.
struct KeysPlace {
  int first_key, kv_head, b;
  int first_tile, tiles_of_head, group;
};
template <bool kBlocks>
ESPALIER_DEVICE KeysPlace keys_place(const Backward& a, std::int64_t block) {
  const auto [head, tile] = a.order.place(block);
  KeysPlace place;
  // The document starts of a whole sequence are seen by most queries: they go first, so that blocks
  // end together.
  place.first_key = tile * kOwnRows;
  place.kv_head = head % a.num_kv_heads;
  place.b = head / a.num_kv_heads;
  const QueryTiles tiles = tiles_of_queries<kBlocks>(a.rows, place.b, place.first_key);
  place.first_tile = tiles.first;
  place.tiles_of_head = tiles.end - tiles.first;
  place.group = a.group;
  return place;
}
/// visit(iteration, head, first query). Two loops, because a division in each iteration would take
/// more instructions than the rest of its beginning.
template <class Visit>
ESPALIER_DEVICE void for_each_iteration(const KeysPlace& place, const Visit& visit) {
  int iteration = 0;
#pragma unroll 1
  for (int head = place.kv_head * place.group; head < (place.kv_head + 1) * place.group; ++head)
#pragma unroll 1
    for (int tile = 0; tile < place.tiles_of_head; ++tile, ++iteration)
      visit(iteration, head, (place.first_tile + tile) * kPassingQueries);
}

/// The warps that bring what is known of the queries that pass, beside the one that copies tiles:
/// those who multiply then have it by column without shuffles. One warp for all of them would need
/// more registers than kProducerRegisters.
constexpr int kFirstRowWarp = kConsumerWarps + 1;
constexpr int kRowWarps = kPassingQueries / kWarpSize;

/// The shared memory of a block that owns keys.
template <int kHeadDim>
struct KeysTiles : Tiles<kPassingQueries, kHeadDim> {
  using Base = Tiles<kPassingQueries, kHeadDim>;
  using Rows = PassingRows<kStages<kPassingQueries, kHeadDim>>;
  static constexpr std::int64_t kBytes = Base::kBytes + Rows::kBytes;

  Rows rows{Base::shared};

  ESPALIER_DEVICE static int row(int iteration, int query) {
    return Base::Passing::stage(iteration) * kPassingQueries + query;
  }
  /// By a warp: its part of the queries from first_query on, a lane each.
  template <bool kBlocks>
  ESPALIER_DEVICE void load_rows(const Backward& a, int iteration, int head, int first_query,
                                 int b) const {
    const int place = (warp() - kFirstRowWarp) * kWarpSize + lane();
    const Query query = query_of(a.rows, b, head, first_query + place);
    const int position =
        kBlocks ? first_query + a.rows.positions.offset(b, first_query) : first_query;
    this->passing[0].producer_acquire(iteration);
    rows.set(row(iteration, place), query);
    if (kBlocks && place == 0) rows.position.set(Base::Passing::stage(iteration), position);
    warp_barrier();
    if (lane() == 0) this->passing[0].producer_commit(iteration);
  }
};

/// dK and dV of a warpgroup's 64 keys: over all heads of the group and all queries that see any of
/// the block's. Scores are taken transposed, (keys, queries).
template <int kHeadDim, bool kBlocks>
ESPALIER_DEVICE void sum_over_queries(const Backward& a, const KeysPlace& place,
                                      const KeysTiles<kHeadDim>& tiles) {
  constexpr int kCount = kPassingQueries / 2;
  const int group_first = warpgroup() * kGroupRows;
  const int first_key = place.first_key + group_first;
  const float scale = a.scale * kLog2OfE;
  float d_k[kHeadDim / 2], d_v[kHeadDim / 2];
  set_zero(d_k);
  set_zero(d_v);
  tiles.own_come.wait(0);
  for_each_iteration(place, [&](int iteration, int, int first_query) {
    const auto queries = tiles.passing[0].tile(iteration);
    const auto d_outs = tiles.passing[1].tile(iteration);
    const int first_row = tiles.row(iteration, 0);
    // Not outside of the loop: the compiler would keep what is left of the iteration before.
    float p[kCount], d_s[kCount];
    std::uint32_t left_p[kPassingQueries / 16][4], left_d_s[kPassingQueries / 16][4];
    QueryColumns lse, delta;
    begin_scores_and_gradients(p, d_s, tiles, group_first, iteration);

    read_columns(lse, tiles.rows.lse, first_row);
    wait_for_products<1>(p);
    hide_unseen<kBlocks>(p, a.rows, tiles.rows, first_row, first_key, first_query);
#pragma unroll
    for (int i = 0; i < kCount; ++i) p[i] = fast_exp2(fmaf(p[i], scale, -lse[column(i)]));
    pack<kPassingQueries>(left_p, p);
    begin_products(d_v, left_p);
    add_product<kPassingQueries, kHeadDim>(d_v, left_p, d_outs);
    end_products();

    read_columns(delta, tiles.rows.delta, first_row);
    wait_for_products<1>(d_s);
#pragma unroll
    for (int i = 0; i < kCount; ++i) d_s[i] = p[i] * (d_s[i] - delta[column(i)]);
    pack<kPassingQueries>(left_d_s, d_s);
    begin_products(d_k, left_d_s);
    add_product<kPassingQueries, kHeadDim>(d_k, left_d_s, queries);
    end_products();
    wait_for_products<0>(d_k, d_v, left_p, left_d_s);
    warp_barrier();  // all lanes have read the rows, and one of them gives their place back
    tiles.passing[0].consumer_release(iteration);
    tiles.passing[1].consumer_release(iteration);
  });
  if constexpr (kBlocks) {
    const auto to = [&](const Heads<float>& sums) {
      return sums.at(place.b, a.kv_length, place.kv_head, kHeadDim);
    };
    store_sums<kHeadDim>(to(a.sums[0]), a.sums[0].stride, first_key, d_k, a.scale);
    store_sums<kHeadDim>(to(a.sums[1]), a.sums[1].stride, first_key, d_v, 1.0f);
  } else {
    store_rows(tiles.own[0], group_first, d_k, {a.scale, a.scale}, a.results[0], place.kv_head,
               place.first_key, place.b);
    store_rows(tiles.own[1], group_first, d_v, {1.0f, 1.0f}, a.results[1], place.kv_head,
               place.first_key, place.b);
    finish_stores();
  }
}

template <int kHeadDim, bool kBlocks>
ESPALIER_ONE_BLOCK_KERNEL(kWarpgroupBlock)
gradient_of_keys(ESPALIER_GRID_CONSTANT const Backward a) {
  if constexpr (kHasWarpgroupProducts) {
    const KeysTiles<kHeadDim> tiles;
    const KeysPlace place = keys_place<kBlocks>(a, block_index());
    if (thread_index() == 0) {
      prefetch_tiles(a);
      if constexpr (!kBlocks) prefetch_maps(a.results[0], a.results[1]);
    }
    tiles.make_barriers(1 + kRowWarps);
    if (warpgroup() < kConsumers) {
      raise_registers<kConsumerRegisters>();
      sum_over_queries<kHeadDim, kBlocks>(a, place, tiles);
      return;
    }
    lower_registers<kProducerRegisters>();
    if (warp() >= kFirstRowWarp && warp() < kFirstRowWarp + kRowWarps)
      for_each_iteration(place, [&](int iteration, int head, int first_query) {
        tiles.template load_rows<kBlocks>(a, iteration, head, first_query, place.b);
      });
    if (thread_index() != kConsumers * kWarpgroupThreads) return;
    tiles.load_own(a, place.kv_head, place.first_key, place.b);
    for_each_iteration(place, [&](int iteration, int head, int first_query) {
      tiles.load_passing(a, iteration, head, first_query, place.b);
    });
  }
}

/// What a block that owns queries computes.
struct QueriesPlace {
  int first_query, h, b;
  int first_position;  ///< of first_query
  int first_tile, num_iterations;

  ESPALIER_DEVICE int first_key(int iteration) const {
    return (first_tile + iteration) * kPassingKeys;
  }
};
ESPALIER_DEVICE QueriesPlace queries_place(const Backward& a, std::int64_t block) {
  const auto [head, tile] = a.order.place(block);
  QueriesPlace place;
  place.first_query = (a.order.num_tiles - 1 - tile) * kOwnRows;
  place.h = head % a.rows.num_q_heads;
  place.b = head / a.rows.num_q_heads;
  place.first_tile = first_key_of(a.rows, place.b, place.first_query) / kPassingKeys;
  const int end =
      place.first_query + kOwnRows < a.rows.length ? place.first_query + kOwnRows : a.rows.length;
  const int offset = a.rows.positions.offset(place.b, place.first_query);
  place.first_position = offset + place.first_query;
  place.num_iterations = (offset + end + kPassingKeys - 1) / kPassingKeys - place.first_tile;
  return place;
}

/// dQ of a warpgroup's 64 queries, over the keys that they see.
template <int kHeadDim>
ESPALIER_DEVICE void sum_over_keys(const Backward& a, const QueriesPlace& place,
                                   const Tiles<kPassingKeys, kHeadDim>& tiles) {
  constexpr int kCount = kPassingKeys / 2;
  const int group_first = warpgroup() * kGroupRows;
  const int first_row = place.first_query + group_first;
  const int first_position = place.first_position + group_first;
  const float scale = a.scale * kLog2OfE;
  const Query rows[2] = {query_of(a.rows, place.b, place.h, first_row + group_row(0)),
                         query_of(a.rows, place.b, place.h, first_row + group_row(2))};
  // The last query sees the fewest of the document starts.
  const int last_row =
      first_row + kGroupRows < a.rows.length ? first_row + kGroupRows - 1 : a.rows.length - 1;
  const int last_first_key = first_key_of(a.rows, place.b, last_row);
  float d_q[kHeadDim / 2];
  set_zero(d_q);
  tiles.own_come.wait(0);
#pragma unroll 1
  for (int iteration = 0; iteration < place.num_iterations; ++iteration) {
    const auto keys = tiles.passing[0].tile(iteration);
    const int first_key = place.first_key(iteration);
    float p[kCount], d_s[kCount];  // as above
    std::uint32_t left_d_s[kPassingKeys / 16][4];
    begin_scores_and_gradients(p, d_s, tiles, group_first, iteration);

    wait_for_products<1>(p);
    if (first_key + kPassingKeys > first_position + 1 || first_key < last_first_key) {
#pragma unroll
      for (int i = 0; i < kCount; ++i) {
        const int key = first_key + group_col(i);
        if (key > first_position + group_row(i) || key < rows[i / 2 % 2].first_key) p[i] = kHidden;
      }
    }
#pragma unroll
    for (int i = 0; i < kCount; ++i) p[i] = fast_exp2(fmaf(p[i], scale, -rows[i / 2 % 2].lse));
    // As in the forward pass: keeps the wait behind the exponentials.
    tiles.passing[1].consumer_wait(iteration);
    wait_for_products<0>(d_s);
    tiles.passing[1].consumer_release(iteration);
#pragma unroll
    for (int i = 0; i < kCount; ++i) d_s[i] = p[i] * (d_s[i] - rows[i / 2 % 2].delta);
    pack<kPassingKeys>(left_d_s, d_s);
    begin_products(d_q, left_d_s);
    add_product<kPassingKeys, kHeadDim>(d_q, left_d_s, keys);
    end_products();
    wait_for_products<0>(d_q, left_d_s);
    tiles.passing[0].consumer_release(iteration);
  }
  store_rows(tiles.own[0], group_first, d_q, {a.scale, a.scale}, a.results[0], place.h,
             place.first_query, place.b);
  finish_stores();
}

template <int kHeadDim>
ESPALIER_ONE_BLOCK_KERNEL(kWarpgroupBlock)
gradient_of_queries(ESPALIER_GRID_CONSTANT const Backward a) {
  if constexpr (kHasWarpgroupProducts) {
    const Tiles<kPassingKeys, kHeadDim> tiles;
    const QueriesPlace place = queries_place(a, block_index());
    if (thread_index() == 0) {
      prefetch_tiles(a);
      prefetch_maps(a.results[0]);
    }
    tiles.make_barriers(1);
    if (warpgroup() < kConsumers) {
      raise_registers<kConsumerRegisters>();
      sum_over_keys(a, place, tiles);
      return;
    }
    lower_registers<kProducerRegisters>();
    if (thread_index() != kConsumers * kWarpgroupThreads) return;
    tiles.load_own(a, place.h, place.first_query, place.b);
#pragma unroll 1
    for (int iteration = 0; iteration < place.num_iterations; ++iteration)
      tiles.load_passing(a, iteration, place.h / a.group, place.first_key(iteration), place.b);
  }
}

template <int kHeadDim>
void launch_backward(const Queue& queue, const AttentionBackward& a, Backward arguments) {
  const AttentionShape& s = a.shape;
  const auto map_q = [&](const device::ConstView& view, int box_rows) {
    return map_of_heads(view, s.batch, s.num_q_heads, s.head_dim, box_rows);
  };
  const auto map_kv = [&](const device::ConstView& view, int box_rows) {
    return map_of_heads(view, s.batch, s.num_kv_heads, s.head_dim, box_rows);
  };
  const auto order = [&](std::int64_t heads, std::int64_t length, int group,
                         std::int64_t passing_rows) {
    // Two matrices of a head.
    const std::int64_t bytes = 2 * passing_rows * s.head_dim * std::int64_t{sizeof(bf16)};
    return BlockOrder::of(narrow<int>(s.batch * heads), narrow<int>(div_ceil(length, kOwnRows)),
                          group, bytes);
  };
  attention_delta(queue, a);
  arguments.own[0] = map_kv(a.k, kOwnRows);
  arguments.own[1] = map_kv(a.v, kOwnRows);
  arguments.passing[0] = map_q(a.q, kPassingQueries);
  arguments.passing[1] = map_q(a.d_o, kPassingQueries);
  arguments.order = order(s.num_kv_heads, s.kv_length, 1, arguments.group * s.query_length);
  const LaunchShape of_keys{arguments.order.num_blocks(), kWarpgroupBlock,
                            KeysTiles<kHeadDim>::kBytes};
  if (s.block_length > 0) {
    arguments.sums[0] = heads_of<float>(a.d_k);
    arguments.sums[1] = heads_of<float>(a.d_v);
    launch(gradient_of_keys<kHeadDim, true>, of_keys, queue, arguments);
  } else {
    arguments.results[0] = map_kv(a.d_k, kGroupRows);
    arguments.results[1] = map_kv(a.d_v, kGroupRows);
    launch(gradient_of_keys<kHeadDim, false>, of_keys, queue, arguments);
  }
  arguments.own[0] = map_q(a.q, kOwnRows);
  arguments.own[1] = map_q(a.d_o, kOwnRows);
  arguments.passing[0] = map_kv(a.k, kPassingKeys);
  arguments.passing[1] = map_kv(a.v, kPassingKeys);
  arguments.results[0] = map_q(a.d_q, kGroupRows);
  arguments.order = order(s.num_q_heads, s.query_length, arguments.group, s.kv_length);
  launch(gradient_of_queries<kHeadDim>,
         {arguments.order.num_blocks(), kWarpgroupBlock, Tiles<kPassingKeys, kHeadDim>::kBytes},
         queue, arguments);
}

}  // namespace wgmma_backward

void attention_backward_wgmma(const Queue& queue, const AttentionBackward& a) {
  using namespace wgmma_backward;
  const AttentionShape& s = a.shape;
  ESPALIER_ASSERT(a.q.dtype == DType::bf16 && (s.head_dim == 64 || s.head_dim == 128),
                  "q {}, head_dim {}", describe(a.q), s.head_dim);
  const auto is_q = [&](const device::ConstView& view) {
    return view.rows == s.batch * s.query_length && view.cols == s.num_q_heads * s.head_dim &&
           all_aligned(view);
  };
  const auto is_kv = [&](const device::ConstView& view) {
    return view.rows == s.batch * s.kv_length && view.cols == s.num_kv_heads * s.head_dim &&
           all_aligned(view);
  };
  ESPALIER_ASSERT(is_q(a.q) && is_q(a.o) && is_q(a.d_o) && is_q(a.d_q) && is_kv(a.k) &&
                      is_kv(a.v) && is_kv(a.d_k) && is_kv(a.d_v),
                  "q {}, k {}, v {}, o {}, d_o {}, d_q {}, d_k {}, d_v {}: rows of 16 bytes",
                  describe(a.q), describe(a.k), describe(a.v), describe(a.o), describe(a.d_o),
                  describe(a.d_q), describe(a.d_k), describe(a.d_v));
  ESPALIER_ASSERT((s.block_length > 0 || s.query_length == s.kv_length) &&
                      s.first_query_position == 0 && a.lse.rows == s.batch * s.num_q_heads &&
                      a.lse.cols == s.query_length && a.scratch.size() >= a.lse.size(),
                  "{} queries from {}, {} keys, lse {}, scratch {}", s.query_length,
                  s.first_query_position, s.kv_length, describe(a.lse), describe(a.scratch));
  if (s.head_dim == 128 && a.scratch.size() >= ordered_scratch(s).num_elements)
    return attention_backward_ordered(queue, a);
  const Backward arguments{.own = {},
                           .passing = {},
                           .results = {},
                           .sums = {},
                           .rows = query_rows(a),
                           .order = {},
                           .num_kv_heads = narrow<int>(s.num_kv_heads),
                           .group = narrow<int>(div_exact(s.num_q_heads, s.num_kv_heads)),
                           .kv_length = narrow<int>(s.kv_length),
                           .scale = 1.0f / std::sqrt(static_cast<float>(s.head_dim))};
  if (s.head_dim == 64)
    launch_backward<64>(queue, a, arguments);
  else
    launch_backward<128>(queue, a, arguments);
}

}  // namespace espalier::kernels::ESPALIER_GPU
