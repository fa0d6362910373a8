// The gradients of attention in fp32, for any head_dim, length and alignment. No atomics: dK and dV
// of a tile of keys are summed over the queries by the block that owns the keys, dQ over the keys
// by the block that owns the queries.
#include "kernels/cuda/attention_providers.hpp"
#include "kernels/cuda/attention_rows.hpp"
#include "kernels/cuda/heads.hpp"
#include "kernels/cuda/math.hpp"
#include "kernels/cuda/query_positions.hpp"
#include "kernels/cuda/tiling.hpp"
#include "kernels/dispatch.hpp"

namespace espalier::kernels::ESPALIER_GPU {
namespace {

template <class T>
struct Backward {
  Heads<const T> q, k, v, o, d_o;
  Heads<T> d_q;
  const float* lse;
  std::int64_t lse_stride;
  float* delta;                        ///< (B * A_loc, S)
  const std::int32_t* document_start;  ///< nullptr: a query sees all keys before it
  QueryPositions positions;
  int batch, num_q_heads, num_kv_heads, group, query_length, kv_length, head_dim;
  float scale;
};

/// delta = rowsum(dO * O), a warp per head row.
template <class T, int kCount>
ESPALIER_KERNEL(kRowsThreads)
delta_of_rows(Backward<T> a) {
  const std::int64_t index = block_index() * num_warps() + warp();
  const std::int64_t num_rows = static_cast<std::int64_t>(a.batch) * a.query_length * a.num_q_heads;
  if (index >= num_rows) return;
  const std::int64_t row = index / a.num_q_heads;
  const int h = static_cast<int>(index - row * a.num_q_heads);
  const T* o = a.o.data + row * a.o.stride + static_cast<std::int64_t>(h) * a.head_dim;
  const T* d_o = a.d_o.data + row * a.d_o.stride + static_cast<std::int64_t>(h) * a.head_dim;
  float sum = 0.0f;
  for (int c = lane() * kCount; c < a.head_dim; c += kWarpSize * kCount)
    sum += sum_of(load(o + c, Columns<kCount>{}) * load(d_o + c, Columns<kCount>{}));
  const float delta = warp_sum(sum);
  const std::int64_t b = row / a.query_length;
  if (lane() == 0)
    write_element(a.delta + (b * a.num_q_heads + h) * a.query_length + row - b * a.query_length,
                  delta);
}

/// What is known of a query: the keys it sees, and its row of the softmax.
struct Query {
  int first_key, last_key;  ///< last_key < 0: there is no such query
  float lse, delta;
};
/// offset: its position less its row (QueryPositions).
template <class T>
ESPALIER_DEVICE Query query_of(const Backward<T>& a, int b, int h, int query, int offset) {
  if (query >= a.query_length) return {0, -1, 0.0f, 0.0f};
  const std::int64_t head = static_cast<std::int64_t>(b) * a.num_q_heads + h;
  const int first =
      a.document_start != nullptr
          ? read_element(a.document_start + static_cast<std::int64_t>(b) * a.query_length + query)
          : 0;
  return {first, num_tail_columns(query + offset),
          read_element(a.lse + head * a.lse_stride + query),
          read_element(a.delta + head * a.query_length + query)};
}

/// A probability and the gradient of its score, both zero for a key that the query does not see.
struct Pair {
  float p, d_s;
};
template <class T>
ESPALIER_DEVICE Pair differentiated(float score, float d_p, const Query& query, int key,
                                    float scale) {
  const bool seen = key >= query.first_key && key <= query.last_key;
  const float p = seen ? exp_for<T>(score * scale - query.lse) : 0.0f;
  return {p, p * (d_p - query.delta)};
}

/// dK and dV of a tile of keys of one kv head: over all heads of its group and all queries that see
/// any of them, of which with blocks of queries there may be none. Sum: float where there are
/// blocks, else T.
template <class T, class Sum, int kCount>
ESPALIER_KERNEL(kRowsThreads)
gradient_of_keys(Backward<T> a, Heads<Sum> out_k, Heads<Sum> out_v) {
  SharedAllocator shared;
  const RowTile keys(shared, a.head_dim), values(shared, a.head_dim), queries(shared, a.head_dim),
      d_outs(shared, a.head_dim);
  const RowWeights probabilities(shared), d_scores(shared);
  const int heads = a.batch * a.num_kv_heads;
  // The document starts of a whole sequence are seen by most queries: they go first, so that blocks
  // end together.
  const int first_key = static_cast<int>(block_index() / heads) * kRows;
  const int head = static_cast<int>(block_index() % heads);
  const int b = head / a.num_kv_heads;
  const int kv_head = head % a.num_kv_heads;
  keys.copy_rows<kCount>(a.k.at(b, a.kv_length, kv_head, a.head_dim), a.k.stride, first_key,
                         a.kv_length);
  values.copy_rows<kCount>(a.v.at(b, a.kv_length, kv_head, a.head_dim), a.v.stride, first_key,
                           a.kv_length);
  const bool blocks = a.positions.block_starts != nullptr;
  const int first = blocks ? a.positions.first_query_from(b, first_key) : first_key;
  const int end = end_of_queries(a.document_start, b, a.query_length, first, first_key + kRows);
  const int num_tiles = (end - first + kRows - 1) / kRows;
  RowSums d_k{}, d_v{};
#pragma unroll 1
  for (int turn = 0; turn < num_tiles * a.group; ++turn) {
    const int h = kv_head * a.group + turn / num_tiles;
    const int first_query = first + turn % num_tiles * kRows;
    if (turn > 0) block_barrier();
    queries.copy_rows<kCount>(a.q.at(b, a.query_length, h, a.head_dim), a.q.stride, first_query,
                              a.query_length);
    d_outs.copy_rows<kCount>(a.d_o.at(b, a.query_length, h, a.head_dim), a.d_o.stride, first_query,
                             a.query_length);
    block_barrier();
    const Query query = query_of(a, b, h, first_query + lane(), a.positions.offset(b, first_query));
    const OwnRows scores = dot_rows(keys, queries);
    const OwnRows d_p = dot_rows(values, d_outs);
#pragma unroll
    for (int r = 0; r < kOwnRows; ++r) {
      const Pair pair =
          differentiated<T>(scores.at[r], d_p.at[r], query, first_key + own_row() + r, a.scale);
      probabilities.set(r, pair.p);
      d_scores.set(r, pair.d_s);
    }
    warp_barrier();
    probabilities.add_rows(d_v, d_outs);
    d_scores.add_rows(d_k, queries);
  }
  OwnRows one, scale;
#pragma unroll
  for (int r = 0; r < kOwnRows; ++r) {
    one.at[r] = 1.0f;
    scale.at[r] = a.scale;
  }
  store_sums<kCount>(out_v.at(b, a.kv_length, kv_head, a.head_dim), out_v.stride, first_key,
                     a.kv_length, a.head_dim, d_v, one);
  store_sums<kCount>(out_k.at(b, a.kv_length, kv_head, a.head_dim), out_k.stride, first_key,
                     a.kv_length, a.head_dim, d_k, scale);
}

/// dQ of a tile of queries of one head, over the keys that they see.
template <class T, int kCount>
ESPALIER_KERNEL(kRowsThreads)
gradient_of_queries(Backward<T> a) {
  SharedAllocator shared;
  const RowTile queries(shared, a.head_dim), d_outs(shared, a.head_dim), keys(shared, a.head_dim),
      values(shared, a.head_dim);
  const RowWeights d_scores(shared);
  const int heads = a.batch * a.num_q_heads;
  const int num_tiles = (a.query_length + kRows - 1) / kRows;
  const int own_tile = num_tiles - 1 - static_cast<int>(block_index() / heads);
  const int first_query = own_tile * kRows;
  const int head = static_cast<int>(block_index() % heads);
  const int b = head / a.num_q_heads;
  const int h = head % a.num_q_heads;
  const int kv_head = h / a.group;
  const int offset = a.positions.offset(b, first_query);
  const int last_tile = own_tile + offset / kRows;
  queries.copy_rows<kCount>(a.q.at(b, a.query_length, h, a.head_dim), a.q.stride, first_query,
                            a.query_length);
  d_outs.copy_rows<kCount>(a.d_o.at(b, a.query_length, h, a.head_dim), a.d_o.stride, first_query,
                           a.query_length);
  const std::int64_t query_row = static_cast<std::int64_t>(b) * a.query_length + first_query;
  const int first_tile =
      a.document_start != nullptr ? read_element(a.document_start + query_row) / kRows : 0;
  Query query[kOwnRows];
#pragma unroll
  for (int r = 0; r < kOwnRows; ++r)
    query[r] = query_of(a, b, h, first_query + own_row() + r, offset);
  RowSums d_q{};
#pragma unroll 1
  for (int tile = first_tile; tile <= last_tile; ++tile) {
    if (tile > first_tile) block_barrier();
    keys.copy_rows<kCount>(a.k.at(b, a.kv_length, kv_head, a.head_dim), a.k.stride, tile * kRows,
                           a.kv_length);
    values.copy_rows<kCount>(a.v.at(b, a.kv_length, kv_head, a.head_dim), a.v.stride, tile * kRows,
                             a.kv_length);
    block_barrier();
    const OwnRows scores = dot_rows(queries, keys);
    const OwnRows d_p = dot_rows(d_outs, values);
#pragma unroll
    for (int r = 0; r < kOwnRows; ++r)
      d_scores.set(
          r,
          differentiated<T>(scores.at[r], d_p.at[r], query[r], tile * kRows + lane(), a.scale).d_s);
    warp_barrier();
    d_scores.add_rows(d_q, keys);
  }
  OwnRows scale;
#pragma unroll
  for (int r = 0; r < kOwnRows; ++r) scale.at[r] = a.scale;
  store_sums<kCount>(a.d_q.at(b, a.query_length, h, a.head_dim), a.d_q.stride, first_query,
                     a.query_length, a.head_dim, d_q, scale);
}

}  // namespace

void attention_backward_reference(const Queue& queue, const AttentionBackward& a) {
  const AttentionShape& s = a.shape;
  const bool documents = a.document_start.data != nullptr;
  const bool aligned = all_aligned(a.q, a.k, a.v, a.o, a.d_o, a.d_q, a.d_k, a.d_v);
  const std::int64_t rows = s.batch * s.query_length * s.num_q_heads;
  const std::int64_t query_tiles = div_ceil(s.query_length, kRows) * s.batch;
  const std::int64_t key_tiles = div_ceil(s.kv_length, kRows) * s.batch;
  const std::int64_t bytes = reference_backward_bytes(s.head_dim);
  dispatch(a.q.dtype, [&]<class T>(T) {
    const Backward<T> arguments{
        .q = heads_of<T>(a.q),
        .k = heads_of<T>(a.k),
        .v = heads_of<T>(a.v),
        .o = heads_of<T>(a.o),
        .d_o = heads_of<T>(a.d_o),
        .d_q = heads_of<T>(a.d_q),
        .lse = a.lse.as<float>(),
        .lse_stride = a.lse.stride,
        .delta = a.scratch.as<float>(),
        .document_start = documents ? a.document_start.as<std::int32_t>() : nullptr,
        .positions = query_positions(a),
        .batch = narrow<int>(s.batch),
        .num_q_heads = narrow<int>(s.num_q_heads),
        .num_kv_heads = narrow<int>(s.num_kv_heads),
        .group = narrow<int>(div_exact(s.num_q_heads, s.num_kv_heads)),
        .query_length = narrow<int>(s.query_length),
        .kv_length = narrow<int>(s.kv_length),
        .head_dim = narrow<int>(s.head_dim),
        .scale = 1.0f / std::sqrt(static_cast<float>(s.head_dim))};
    with_head_width<T>(aligned, s.head_dim, [&]<int kCount>(Columns<kCount>) {
      launch(delta_of_rows<T, kCount>, {div_ceil(rows, kRowsThreads / kWarpSize), kRowsThreads},
             queue, arguments);
      const auto launch_keys = [&]<class Sum>(Sum) {
        launch(gradient_of_keys<T, Sum, kCount>, {key_tiles * s.num_kv_heads, kRowsThreads, bytes},
               queue, arguments, heads_of<Sum>(a.d_k), heads_of<Sum>(a.d_v));
      };
      if (s.block_length > 0)
        launch_keys(float{});
      else
        launch_keys(T{});
      launch(
          gradient_of_queries<T, kCount>,
          {query_tiles * s.num_q_heads, kRowsThreads, bytes - shared_bytes<float>(kRows * kRows)},
          queue, arguments);
    });
  });
}

}  // namespace espalier::kernels::ESPALIER_GPU
