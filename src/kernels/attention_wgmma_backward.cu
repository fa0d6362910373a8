// The gradients of attention on Hopper, by warpgroups as in attention_wgmma.cu and without atomics
// as in attention_mma_backward.cu: one kernel owns keys and takes the queries of all heads of their
// group by turns, one owns queries and takes keys. Probabilities and gradients of scores go from
// the results of one product to the left operand of the next in registers.
#include "kernels/cuda/attention_providers.hpp"
#include "kernels/cuda/attention_warpgroups.hpp"
#include "kernels/cuda/tiling.hpp"
#include "kernels/siblings.hpp"

namespace espalier::kernels::ESPALIER_GPU {
// Named as in attention_wgmma.cu.
namespace wgmma_backward {

constexpr int kOwnRows = kConsumers * kGroupRows;
constexpr int kPassingQueries = 64;
constexpr int kPassingKeys = 128;
constexpr int kStages = 2;

/// Maps by what they are to a kernel: two tiles that a block owns, two that pass by, and its
/// results.
struct Backward {
  TensorMap own[2], passing[2], results[2];
  const float* lse;
  std::int64_t lse_stride;
  const float* delta;              ///< (B * A_loc, S)
  const std::int32_t* first_keys;  ///< nullptr: a query sees all keys before it
  int batch, num_q_heads, num_kv_heads, group, length;
  float scale;
};

/// The shared memory of a block.
template <int kPassingRows, int kHeadDim>
struct Tiles {
  using Own = SwizzledTile<kOwnRows, kHeadDim>;
  using Passing = Ring<SwizzledTile<kPassingRows, kHeadDim>, kStages>;
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

  /// By all threads.
  ESPALIER_DEVICE void make_barriers() const {
    if (thread_index() == 0) {
      own_come.init(1);
      passing[0].init();
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
  ESPALIER_DEVICE void load_passing(const Backward& a, int turn, int head, int first_row,
                                    int b) const {
    passing[0].load(turn, a.passing[0], head, first_row, b);
    passing[1].load(turn, a.passing[1], head, first_row, b);
  }
};

/// What is known of a query: the keys it sees, and its row of the softmax.
struct Query {
  int first_key, last_key;  ///< last_key < 0: there is no such query
  float lse, delta;         ///< lse in units of log 2
};
ESPALIER_DEVICE Query query_of(const Backward& a, int b, int h, int query) {
  if (query >= a.length) return {0, -1, 0.0f, 0.0f};
  const std::int64_t head = static_cast<std::int64_t>(b) * a.num_q_heads + h;
  const int first =
      a.first_keys != nullptr
          ? read_element(a.first_keys + static_cast<std::int64_t>(b) * a.length + query)
          : 0;
  return {first, query, read_element(a.lse + head * a.lse_stride + query) * kLog2OfE,
          read_element(a.delta + head * a.length + query)};
}

/// What a warp knows of the queries of a turn: each lane of two, whoever computes with them. Asked
/// for before the tiles are waited for, they are here when the scores are.
struct PassingRows {
  static constexpr int kParts = kPassingQueries / kWarpSize;
  Query part[kParts];

  ESPALIER_DEVICE PassingRows(const Backward& a, int b, int h, int first_query) {
#pragma unroll
    for (int i = 0; i < kParts; ++i)
      part[i] = query_of(a, b, h, first_query + i * kWarpSize + lane());
  }
  /// Of the query of column group_col(i); i is known to the compiler.
  ESPALIER_DEVICE float lse(int i) const {
    return shuffle(part[part_of(i)].lse, lane_of(i));
  }
  ESPALIER_DEVICE float delta(int i) const {
    return shuffle(part[part_of(i)].delta, lane_of(i));
  }
  ESPALIER_DEVICE int first_key(int i) const {
    return shuffle(part[part_of(i)].first_key, lane_of(i));
  }

 private:
  ESPALIER_DEVICE static int part_of(int i) {
    return i / 4 * 8 / kWarpSize;
  }
  ESPALIER_DEVICE static int lane_of(int i) {
    return group_col(i) & (kWarpSize - 1);
  }
};

/// The probability of a key that the query sees, else zero.
ESPALIER_DEVICE float probability(float score, const Query& query, int key, float scale) {
  const bool seen = key >= query.first_key && key <= query.last_key;
  return seen ? fast_exp2(fmaf(score, scale, -query.lse)) : 0.0f;
}

/// What a block that owns keys computes.
struct KeysPlace {
  int first_key, kv_head, b;
  int first_tile, tiles_of_head, num_turns;
  int group;

  ESPALIER_DEVICE int head(int turn) const { return kv_head * group + turn / tiles_of_head; }
  ESPALIER_DEVICE int first_query(int turn) const {
    return (first_tile + turn % tiles_of_head) * kPassingQueries;
  }
};
ESPALIER_DEVICE KeysPlace keys_place(const Backward& a, std::int64_t block) {
  const int heads = a.batch * a.num_kv_heads;
  const int head = static_cast<int>(block % heads);
  KeysPlace place;
  // The first keys are seen by most queries: they go first, so that blocks end together.
  place.first_key = static_cast<int>(block / heads) * kOwnRows;
  place.kv_head = head % a.num_kv_heads;
  place.b = head / a.num_kv_heads;
  place.first_tile = place.first_key / kPassingQueries;
  place.tiles_of_head = (a.length + kPassingQueries - 1) / kPassingQueries - place.first_tile;
  place.group = a.group;
  place.num_turns = place.tiles_of_head * a.group;
  return place;
}

/// dK and dV of a warpgroup's 64 keys: over all heads of the group and all queries from the first
/// key on. Scores are taken transposed, (keys, queries).
template <int kHeadDim>
ESPALIER_DEVICE void sum_over_queries(const Backward& a, const KeysPlace& place,
                                      const Tiles<kPassingQueries, kHeadDim>& tiles) {
  constexpr int kCount = kPassingQueries / 2;
  const int group_first = warpgroup() * kGroupRows;
  const int first_key = place.first_key + group_first;
  const float scale = a.scale * kLog2OfE;
  float d_k[kHeadDim / 2], d_v[kHeadDim / 2];
  set_zero(d_k);
  set_zero(d_v);
  tiles.own_come.wait(0);
#pragma unroll 1
  for (int turn = 0; turn < place.num_turns; ++turn) {
    const auto queries = tiles.passing[0].tile(turn);
    const auto d_outs = tiles.passing[1].tile(turn);
    // Not outside of the loop: the compiler would keep what is left of the turn before.
    float p[kCount], d_s[kCount];
    std::uint32_t left_p[kPassingQueries / 16][4], left_d_s[kPassingQueries / 16][4];
    const int first_query = place.first_query(turn);
    const PassingRows rows(a, place.b, place.head(turn), first_query);
    tiles.passing[0].await(turn);
    begin_products();
    multiply_rows(p, tiles.own[0], group_first, queries);
    end_products();
    tiles.passing[1].await(turn);
    begin_products();
    multiply_rows(d_s, tiles.own[1], group_first, d_outs);
    end_products();

    wait_for_products<1>(p);
#pragma unroll
    for (int i = 0; i < kCount; i += 4)
#pragma unroll
      for (int col = 0; col < 2; ++col) {
        const int row = first_query + group_col(i + col);
        const Query query = {a.first_keys != nullptr ? rows.first_key(i + col) : 0,
                             row < a.length ? row : -1, rows.lse(i + col), 0.0f};
#pragma unroll
        for (int j = i + col; j < i + 4; j += 2)
          p[j] = probability(p[j], query, first_key + group_row(j), scale);
      }
    pack<kPassingQueries>(left_p, p);
    begin_products(d_v, left_p);
    add_product<kPassingQueries, kHeadDim>(d_v, left_p, d_outs);
    end_products();

    wait_for_products<1>(d_s);
#pragma unroll
    for (int i = 0; i < kCount; i += 4)
#pragma unroll
      for (int col = 0; col < 2; ++col) {
        const float delta = rows.delta(i + col);
#pragma unroll
        for (int j = i + col; j < i + 4; j += 2) d_s[j] = p[j] * (d_s[j] - delta);
      }
    pack<kPassingQueries>(left_d_s, d_s);
    begin_products(d_k, left_d_s);
    add_product<kPassingQueries, kHeadDim>(d_k, left_d_s, queries);
    end_products();
    wait_for_products<0>(d_k, d_v, left_p, left_d_s);
    tiles.passing[0].give_back(turn);
    tiles.passing[1].give_back(turn);
  }
  store_rows(tiles.own[0], group_first, d_k, {a.scale, a.scale}, a.results[0], place.kv_head,
             place.first_key, place.b);
  store_rows(tiles.own[1], group_first, d_v, {1.0f, 1.0f}, a.results[1], place.kv_head,
             place.first_key, place.b);
}

template <int kHeadDim>
ESPALIER_ONE_BLOCK_KERNEL(kWarpgroupBlock)
gradient_of_keys(ESPALIER_GRID_CONSTANT const Backward a) {
  if constexpr (kHasWarpgroupProducts) {
    const Tiles<kPassingQueries, kHeadDim> tiles;
    const KeysPlace place = keys_place(a, block_index());
    tiles.make_barriers();
    if (warpgroup() < kConsumers) {
      raise_registers<kConsumerRegisters>();
      sum_over_queries(a, place, tiles);
      return;
    }
    lower_registers<kProducerRegisters>();
    if (thread_index() != kConsumers * kWarpgroupThreads) return;
    tiles.load_own(a, place.kv_head, place.first_key, place.b);
#pragma unroll 1
    for (int turn = 0; turn < place.num_turns; ++turn)
      tiles.load_passing(a, turn, place.head(turn), place.first_query(turn), place.b);
  }
}

/// What a block that owns queries computes.
struct QueriesPlace {
  int first_query, h, b;
  int first_tile, num_turns;

  ESPALIER_DEVICE int first_key(int turn) const { return (first_tile + turn) * kPassingKeys; }
};
ESPALIER_DEVICE QueriesPlace queries_place(const Backward& a, std::int64_t block) {
  const int heads = a.batch * a.num_q_heads;
  const int head = static_cast<int>(block % heads);
  const int num_tiles = (a.length + kOwnRows - 1) / kOwnRows;
  QueriesPlace place;
  place.first_query = (num_tiles - 1 - static_cast<int>(block / heads)) * kOwnRows;
  place.h = head % a.num_q_heads;
  place.b = head / a.num_q_heads;
  place.first_tile =
      a.first_keys != nullptr
          ? read_element(a.first_keys + static_cast<std::int64_t>(place.b) * a.length +
                         place.first_query) /
                kPassingKeys
          : 0;
  const int end = place.first_query + kOwnRows < a.length ? place.first_query + kOwnRows : a.length;
  place.num_turns = (end + kPassingKeys - 1) / kPassingKeys - place.first_tile;
  return place;
}

/// dQ of a warpgroup's 64 queries, over the keys that they see.
template <int kHeadDim>
ESPALIER_DEVICE void sum_over_keys(const Backward& a, const QueriesPlace& place,
                                   const Tiles<kPassingKeys, kHeadDim>& tiles) {
  constexpr int kCount = kPassingKeys / 2;
  const int group_first = warpgroup() * kGroupRows;
  const int first_row = place.first_query + group_first;
  const float scale = a.scale * kLog2OfE;
  const Query rows[2] = {query_of(a, place.b, place.h, first_row + group_row(0)),
                         query_of(a, place.b, place.h, first_row + group_row(2))};
  float d_q[kHeadDim / 2];
  set_zero(d_q);
  tiles.own_come.wait(0);
#pragma unroll 1
  for (int turn = 0; turn < place.num_turns; ++turn) {
    const auto keys = tiles.passing[0].tile(turn);
    const auto values = tiles.passing[1].tile(turn);
    float p[kCount], d_s[kCount];  // as above
    std::uint32_t left_d_s[kPassingKeys / 16][4];
    tiles.passing[0].await(turn);
    begin_products();
    multiply_rows(p, tiles.own[0], group_first, keys);
    end_products();
    tiles.passing[1].await(turn);
    begin_products();
    multiply_rows(d_s, tiles.own[1], group_first, values);
    end_products();

    wait_for_products<1>(p);
#pragma unroll
    for (int i = 0; i < kCount; ++i)
      p[i] = probability(p[i], rows[i / 2 % 2], place.first_key(turn) + group_col(i), scale);
    wait_for_products<0>(d_s);
    tiles.passing[1].give_back(turn);
#pragma unroll
    for (int i = 0; i < kCount; ++i) d_s[i] = p[i] * (d_s[i] - rows[i / 2 % 2].delta);
    pack<kPassingKeys>(left_d_s, d_s);
    begin_products(d_q, left_d_s);
    add_product<kPassingKeys, kHeadDim>(d_q, left_d_s, keys);
    end_products();
    wait_for_products<0>(d_q, left_d_s);
    tiles.passing[0].give_back(turn);
  }
  store_rows(tiles.own[0], group_first, d_q, {a.scale, a.scale}, a.results[0], place.h,
             place.first_query, place.b);
}

template <int kHeadDim>
ESPALIER_ONE_BLOCK_KERNEL(kWarpgroupBlock)
gradient_of_queries(ESPALIER_GRID_CONSTANT const Backward a) {
  if constexpr (kHasWarpgroupProducts) {
    const Tiles<kPassingKeys, kHeadDim> tiles;
    const QueriesPlace place = queries_place(a, block_index());
    tiles.make_barriers();
    if (warpgroup() < kConsumers) {
      raise_registers<kConsumerRegisters>();
      sum_over_keys(a, place, tiles);
      return;
    }
    lower_registers<kProducerRegisters>();
    if (thread_index() != kConsumers * kWarpgroupThreads) return;
    tiles.load_own(a, place.h, place.first_query, place.b);
#pragma unroll 1
    for (int turn = 0; turn < place.num_turns; ++turn)
      tiles.load_passing(a, turn, place.h / a.group, place.first_key(turn), place.b);
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
  const std::int64_t tiles = div_ceil(s.query_length, kOwnRows) * s.batch;
  attention_delta(queue, a);
  arguments.own[0] = map_kv(a.k, kOwnRows);
  arguments.own[1] = map_kv(a.v, kOwnRows);
  arguments.passing[0] = map_q(a.q, kPassingQueries);
  arguments.passing[1] = map_q(a.d_o, kPassingQueries);
  arguments.results[0] = map_kv(a.d_k, kGroupRows);
  arguments.results[1] = map_kv(a.d_v, kGroupRows);
  launch(gradient_of_keys<kHeadDim>,
         {tiles * s.num_kv_heads, kWarpgroupBlock, Tiles<kPassingQueries, kHeadDim>::kBytes}, queue,
         arguments);
  arguments.own[0] = map_q(a.q, kOwnRows);
  arguments.own[1] = map_q(a.d_o, kOwnRows);
  arguments.passing[0] = map_kv(a.k, kPassingKeys);
  arguments.passing[1] = map_kv(a.v, kPassingKeys);
  arguments.results[0] = map_q(a.d_q, kGroupRows);
  launch(gradient_of_queries<kHeadDim>,
         {tiles * s.num_q_heads, kWarpgroupBlock, Tiles<kPassingKeys, kHeadDim>::kBytes}, queue,
         arguments);
}

}  // namespace wgmma_backward

void attention_backward_wgmma(const Queue& queue, const AttentionBackward& a) {
  using namespace wgmma_backward;
  const AttentionShape& s = a.shape;
  ESPALIER_ASSERT(a.q.dtype == DType::bf16 && (s.head_dim == 64 || s.head_dim == 128),
                  "q {}, head_dim {}", describe(a.q), s.head_dim);
  const std::int64_t rows = s.batch * s.query_length;
  const auto is_q = [&](const device::ConstView& view) {
    return view.rows == rows && view.cols == s.num_q_heads * s.head_dim && all_aligned(view);
  };
  const auto is_kv = [&](const device::ConstView& view) {
    return view.rows == rows && view.cols == s.num_kv_heads * s.head_dim && all_aligned(view);
  };
  ESPALIER_ASSERT(is_q(a.q) && is_q(a.o) && is_q(a.d_o) && is_q(a.d_q) && is_kv(a.k) &&
                      is_kv(a.v) && is_kv(a.d_k) && is_kv(a.d_v),
                  "q {}, k {}, v {}, o {}, d_o {}, d_q {}, d_k {}, d_v {}: rows of 16 bytes",
                  describe(a.q), describe(a.k), describe(a.v), describe(a.o), describe(a.d_o),
                  describe(a.d_q), describe(a.d_k), describe(a.d_v));
  ESPALIER_ASSERT(s.query_length == s.kv_length && s.first_query_position == 0 &&
                      a.lse.rows == s.batch * s.num_q_heads && a.lse.cols == s.query_length &&
                      a.scratch.size() >= a.lse.size(),
                  "{} queries from {}, {} keys, lse {}, scratch {}", s.query_length,
                  s.first_query_position, s.kv_length, describe(a.lse), describe(a.scratch));
  const Backward arguments{
      .own = {},
      .passing = {},
      .results = {},
      .lse = a.lse.as<float>(),
      .lse_stride = a.lse.stride,
      .delta = a.scratch.as<float>(),
      .first_keys = a.first_keys.data != nullptr ? a.first_keys.as<std::int32_t>() : nullptr,
      .batch = narrow<int>(s.batch),
      .num_q_heads = narrow<int>(s.num_q_heads),
      .num_kv_heads = narrow<int>(s.num_kv_heads),
      .group = narrow<int>(div_exact(s.num_q_heads, s.num_kv_heads)),
      .length = narrow<int>(s.query_length),
      .scale = 1.0f / std::sqrt(static_cast<float>(s.head_dim))};
  if (s.head_dim == 64)
    launch_backward<64>(queue, a, arguments);
  else
    launch_backward<128>(queue, a, arguments);
}

}  // namespace espalier::kernels::ESPALIER_GPU
