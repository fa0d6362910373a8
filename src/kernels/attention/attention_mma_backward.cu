// The gradients of attention, without atomics: every element of dK and dV is summed over the
// queries by the one block that owns its keys, and every element of dQ over the keys by the block
// that owns its queries. Scores are recomputed in both, 7 products instead of 5.
#include "kernels/cuda/attention_products.hpp"
#include "kernels/cuda/attention_providers.hpp"
#include "kernels/cuda/heads.hpp"
#include "kernels/cuda/query_positions.hpp"
#include "kernels/cuda/shared_limits.hpp"
#include "kernels/cuda/tiling.hpp"
#include "kernels/dispatch.hpp"

namespace espalier::kernels::ESPALIER_GPU {
namespace {

/// Rows that a block owns, 16 to a warp, and rows of the tiles that pass by.
constexpr int kOwnRows = 64;
constexpr int kPassingRows = 32;
constexpr int kBackwardThreads = 128;

struct Backward {
  Heads<const bf16> q, k, v, d_o;
  Heads<bf16> d_q;
  const float* lse;
  std::int64_t lse_stride;
  const float* delta;                  ///< (B * A_loc, S)
  const std::int32_t* document_start;  ///< nullptr: a query sees all keys before it
  QueryPositions positions;
  int batch, num_q_heads, num_kv_heads, group, query_length, kv_length;
  float scale;
};

/// What is known of a query: the keys it sees, and its row of the softmax.
struct Query {
  int first_key, last_key;  ///< last_key < 0: there is no such query
  float lse, delta;         ///< lse in units of log 2
};
/// offset: its position less its row (QueryPositions).
ESPALIER_DEVICE Query query_of(const Backward& a, int b, int h, int query, int offset) {
  if (query >= a.query_length) return {0, -1, 0.0f, 0.0f};
  const std::int64_t head = static_cast<std::int64_t>(b) * a.num_q_heads + h;
  const int first =
      a.document_start != nullptr
          ? read_element(a.document_start + static_cast<std::int64_t>(b) * a.query_length + query)
          : 0;
  return {first, num_tail_columns(query + offset),
          read_element(a.lse + head * a.lse_stride + query) * kLog2E,
          read_element(a.delta + head * a.query_length + query)};
}

/// A score and d_o . v become the probability and the gradient of the score, both zero for a key
/// that the query does not see.
ESPALIER_DEVICE void differentiate(float& score, float& d_p, const Query& query, int key,
                                   float scale) {
  const bool seen = key >= query.first_key && key <= query.last_key;
  const float p = seen ? fast_exp2(score * (scale * kLog2E) - query.lse) : 0.0f;
  score = p;
  d_p = p * (d_p - query.delta);
}

/// The shared memory of both kernels: two tiles that the block owns, and two that pass by, each of
/// these in two places, so that the next pair is copied while one is used.
template <int kHeadDim>
struct Tiles {
  using Own = SharedTile<kOwnRows, kHeadDim>;
  using Passing = SharedTile<kPassingRows, kHeadDim>;
  static constexpr std::int64_t kBytes =
      2 * shared_bytes<bf16>(Own::kElements) + 4 * shared_bytes<bf16>(Passing::kElements);
  static_assert(kBytes <= kSharedBytesEverywhere);

  SharedArray<bf16> own, passing;

  ESPALIER_DEVICE explicit Tiles(SharedAllocator shared)
      : own(shared.take<bf16>(2 * Own::kElements)),
        passing(shared.take<bf16>(4 * Passing::kElements)) {}
  ESPALIER_DEVICE Own owned(int which) const {
    return Own(own.part(which * Own::kElements, Own::kElements));
  }
  ESPALIER_DEVICE Passing passed(int which, int turn) const {
    return Passing(passing.part((which + turn % 2 * 2) * Passing::kElements, Passing::kElements));
  }
};

/// The left operands of the warp's rows of a tile.
template <int kHeadDim>
ESPALIER_DEVICE auto left_of(const SharedTile<kOwnRows, kHeadDim>& tile) {
  return [tile](int d) { return tile.left(warp() * 16, 2 * d); };
}

/// dK and dV of a tile of keys of one kv head: over all heads of its group and all queries that see
/// any of them, of which with blocks of queries there may be none. Scores are taken transposed,
/// (keys, queries). Sum: float where there are blocks, else bf16.
template <int kHeadDim, class Sum>
ESPALIER_KERNEL(kBackwardThreads)
gradient_of_keys(Backward a, Heads<Sum> out_k, Heads<Sum> out_v) {
  constexpr bool kBlocks = std::is_same_v<Sum, float>;
  const Tiles<kHeadDim> tiles{SharedAllocator()};
  const int heads = a.batch * a.num_kv_heads;
  // The document starts of a whole sequence are seen by most queries: they go first, so that blocks
  // end together.
  const int first_key = static_cast<int>(block_index() / heads) * kOwnRows;
  const int head = static_cast<int>(block_index() % heads);
  const int b = head / a.num_kv_heads;
  const int kv_head = head % a.num_kv_heads;

  const int first = kBlocks ? a.positions.first_query_from(b, first_key) : first_key;
  const int first_tile = first / kPassingRows;
  const int end = end_of_queries(a.document_start, b, a.query_length, first, first_key + kOwnRows);
  const int num_tiles = (end + kPassingRows - 1) / kPassingRows - first_tile;
  const int num_turns = num_tiles * a.group;
  const auto q_head = [&](int turn) { return kv_head * a.group + turn / num_tiles; };
  const auto first_query = [&](int turn) { return (first_tile + turn % num_tiles) * kPassingRows; };
  const auto copy = [&](int turn) {
    const int h = q_head(turn);
    tiles.passed(0, turn).copy_rows(a.q.at(b, a.query_length, h, kHeadDim), a.q.stride,
                                    first_query(turn), a.query_length);
    tiles.passed(1, turn).copy_rows(a.d_o.at(b, a.query_length, h, kHeadDim), a.d_o.stride,
                                    first_query(turn), a.query_length);
  };
  tiles.owned(0).copy_rows(a.k.at(b, a.kv_length, kv_head, kHeadDim), a.k.stride, first_key,
                           a.kv_length);
  tiles.owned(1).copy_rows(a.v.at(b, a.kv_length, kv_head, kHeadDim), a.v.stride, first_key,
                           a.kv_length);
  if (!kBlocks || num_turns > 0) copy(0);
  commit_copies();

  WarpMatrix<kHeadDim> d_k{}, d_v{};
#pragma unroll 1
  for (int turn = 0; turn < num_turns; ++turn) {
    wait_for_copies<0>();
    block_barrier();
    if (turn + 1 < num_turns) copy(turn + 1);
    commit_copies();
    // A lane knows of one query, and all are here when the scores are.
    static_assert(kPassingRows == kWarpSize);
    const int offset = kBlocks ? a.positions.offset(b, first_query(turn)) : 0;
    const Query mine = query_of(a, b, q_head(turn), first_query(turn) + lane(), offset);
    const auto queries = tiles.passed(0, turn);
    const auto d_outs = tiles.passed(1, turn);
    auto p = multiply_rows(left_of(tiles.owned(0)), queries);
    auto d_s = multiply_rows(left_of(tiles.owned(1)), d_outs);
#pragma unroll
    for (int n = 0; n < kPassingRows / 8; ++n)
#pragma unroll
      for (int col = 0; col < 2; ++col) {
        const int from = n * 8 + fragment_col(col);
        const Query query = {shuffle(mine.first_key, from), shuffle(mine.last_key, from),
                             shuffle(mine.lse, from), shuffle(mine.delta, from)};
#pragma unroll
        for (int i = col; i < 4; i += 2)
          differentiate(p.at[n][i], d_s.at[n][i], query, first_key + warp() * 16 + fragment_row(i),
                        a.scale);
      }
    add_product(d_v, p, d_outs);
    add_product(d_k, d_s, queries);
  }
  const int first_row = first_key + warp() * 16;
  Sum* to_k = out_k.at(b, a.kv_length, kv_head, kHeadDim);
  Sum* to_v = out_v.at(b, a.kv_length, kv_head, kHeadDim);
  if constexpr (kBlocks) {
    wait_for_copies<0>();  // of keys that no query has seen
    store_sums(to_v, out_v.stride, first_row, a.kv_length, d_v, 1.0f);
    store_sums(to_k, out_k.stride, first_row, a.kv_length, d_k, a.scale);
  } else {
    warp_barrier();  // a warp's own rows are read by itself alone
    store_rows(to_v, out_v.stride, first_row, a.kv_length, tiles.owned(1), warp() * 16, d_v,
               {1.0f, 1.0f});
    store_rows(to_k, out_k.stride, first_row, a.kv_length, tiles.owned(0), warp() * 16, d_k,
               {a.scale, a.scale});
  }
}

/// dQ of a tile of queries of one head, over the keys that they see.
template <int kHeadDim>
ESPALIER_KERNEL(kBackwardThreads)
gradient_of_queries(Backward a) {
  const Tiles<kHeadDim> tiles{SharedAllocator()};
  const int heads = a.batch * a.num_q_heads;
  const int num_tiles = (a.query_length + kOwnRows - 1) / kOwnRows;
  const int first_query = (num_tiles - 1 - static_cast<int>(block_index() / heads)) * kOwnRows;
  const int head = static_cast<int>(block_index() % heads);
  const int b = head / a.num_q_heads;
  const int h = head % a.num_q_heads;
  const int kv_head = h / a.group;

  const std::int64_t query_row = static_cast<std::int64_t>(b) * a.query_length + first_query;
  const int first_tile =
      a.document_start != nullptr ? read_element(a.document_start + query_row) / kPassingRows : 0;
  const int end = first_query + kOwnRows < a.query_length ? first_query + kOwnRows : a.query_length;
  const int offset = a.positions.offset(b, first_query);
  const int num_turns = (offset + end + kPassingRows - 1) / kPassingRows - first_tile;
  const auto first_key = [&](int turn) { return (first_tile + turn) * kPassingRows; };
  const auto copy = [&](int turn) {
    tiles.passed(0, turn).copy_rows(a.k.at(b, a.kv_length, kv_head, kHeadDim), a.k.stride,
                                    first_key(turn), a.kv_length);
    tiles.passed(1, turn).copy_rows(a.v.at(b, a.kv_length, kv_head, kHeadDim), a.v.stride,
                                    first_key(turn), a.kv_length);
  };
  tiles.owned(0).copy_rows(a.q.at(b, a.query_length, h, kHeadDim), a.q.stride, first_query,
                           a.query_length);
  tiles.owned(1).copy_rows(a.d_o.at(b, a.query_length, h, kHeadDim), a.d_o.stride, first_query,
                           a.query_length);
  copy(0);
  commit_copies();

  const int first_row = first_query + warp() * 16;
  const Query rows[2] = {query_of(a, b, h, first_row + fragment_row(0), offset),
                         query_of(a, b, h, first_row + fragment_row(2), offset)};
  WarpMatrix<kHeadDim> d_q{};
#pragma unroll 1
  for (int turn = 0; turn < num_turns; ++turn) {
    wait_for_copies<0>();
    block_barrier();
    if (turn + 1 < num_turns) copy(turn + 1);
    commit_copies();
    const auto keys = tiles.passed(0, turn);
    auto p = multiply_rows(left_of(tiles.owned(0)), keys);
    auto d_s = multiply_rows(left_of(tiles.owned(1)), tiles.passed(1, turn));
#pragma unroll
    for (int n = 0; n < kPassingRows / 8; ++n)
#pragma unroll
      for (int i = 0; i < 4; ++i)
        differentiate(p.at[n][i], d_s.at[n][i], rows[i / 2],
                      first_key(turn) + n * 8 + fragment_col(i), a.scale);
    add_product(d_q, d_s, keys);
  }
  warp_barrier();  // a warp's own rows are read by itself alone
  store_rows(a.d_q.at(b, a.query_length, h, kHeadDim), a.d_q.stride, first_row, a.query_length,
             tiles.owned(0), warp() * 16, d_q, {a.scale, a.scale});
}

template <int kHeadDim>
void launch_backward(const Queue& queue, const AttentionBackward& pass, const Backward& a) {
  const auto shape = [&](std::int64_t length, std::int64_t heads) -> LaunchShape {
    return {div_ceil(length, kOwnRows) * a.batch * heads, kBackwardThreads,
            Tiles<kHeadDim>::kBytes};
  };
  const LaunchShape of_keys = shape(a.kv_length, a.num_kv_heads);
  dispatch(pass.d_k.dtype, [&]<class Sum>(Sum) {
    launch(gradient_of_keys<kHeadDim, Sum>, of_keys, queue, a, heads_of<Sum>(pass.d_k),
           heads_of<Sum>(pass.d_v));
  });
  launch(gradient_of_queries<kHeadDim>, shape(a.query_length, a.num_q_heads), queue, a);
}

}  // namespace

void attention_backward_mma(const Queue& queue, const AttentionBackward& a) {
  const AttentionShape& s = a.shape;
  const Backward arguments{.q = heads_of<bf16>(a.q),
                           .k = heads_of<bf16>(a.k),
                           .v = heads_of<bf16>(a.v),
                           .d_o = heads_of<bf16>(a.d_o),
                           .d_q = heads_of<bf16>(a.d_q),
                           .lse = a.lse.as<float>(),
                           .lse_stride = a.lse.stride,
                           .delta = a.scratch.as<float>(),
                           .document_start = a.document_start.data != nullptr
                                                 ? a.document_start.as<std::int32_t>()
                                                 : nullptr,
                           .positions = query_positions(a),
                           .batch = narrow<int>(s.batch),
                           .num_q_heads = narrow<int>(s.num_q_heads),
                           .num_kv_heads = narrow<int>(s.num_kv_heads),
                           .group = narrow<int>(div_exact(s.num_q_heads, s.num_kv_heads)),
                           .query_length = narrow<int>(s.query_length),
                           .kv_length = narrow<int>(s.kv_length),
                           .scale = 1.0f / std::sqrt(static_cast<float>(s.head_dim))};
  attention_delta(queue, a);
  if (s.head_dim == 64)
    launch_backward<64>(queue, a, arguments);
  else
    launch_backward<128>(queue, a, arguments);
}

}  // namespace espalier::kernels::ESPALIER_GPU
