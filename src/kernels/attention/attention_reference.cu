// Attention in fp32 for any head_dim, length and alignment: what other providers are checked
// against, and what computes what they cannot.
#include "kernels/cuda/attention_providers.hpp"
#include "kernels/cuda/attention_rows.hpp"
#include "kernels/cuda/heads.hpp"
#include "kernels/cuda/math.hpp"
#include "kernels/cuda/query_positions.hpp"
#include "kernels/cuda/tiling.hpp"
#include "kernels/dispatch.hpp"

namespace espalier::kernels::ESPALIER_GPU {
namespace {

/// Below every score; finite, so that differences of two are not NaN.
constexpr float kHidden = -1e30f;

template <class T>
struct Forward {
  Heads<const T> q, k, v;
  Heads<T> o;
  float* lse;
  std::int64_t lse_stride;
  const std::int32_t* document_start;  ///< nullptr: a query sees all keys before it
  QueryPositions positions;
  int batch, num_q_heads, group;  ///< group: query heads of one kv head
  int query_length, kv_length, num_tiles, head_dim;
  float scale;
};

/// A tile of queries of one head. The last tiles see most keys: they go first, so that blocks end
/// together.
template <class T, int kCount>
ESPALIER_KERNEL(kRowsThreads)
forward_tile(Forward<T> a) {
  SharedAllocator shared;
  const RowTile queries(shared, a.head_dim), keys(shared, a.head_dim), values(shared, a.head_dim);
  const RowWeights weights(shared);
  const int heads = a.batch * a.num_q_heads;
  const int head = static_cast<int>(block_index() % heads);
  const int first_query = (a.num_tiles - 1 - static_cast<int>(block_index() / heads)) * kRows;
  const int b = head / a.num_q_heads;
  const int h = head % a.num_q_heads;
  const int kv_head = h / a.group;
  const std::int64_t query_row = static_cast<std::int64_t>(b) * a.query_length + first_query;

  const int end = first_query + kRows < a.query_length ? first_query + kRows : a.query_length;
  const int offset = a.positions.offset(b, first_query);
  const int last_tile = (offset + end - 1) / kRows;
  // The first document in the tile begins first.
  const int first_tile =
      a.document_start != nullptr ? read_element(a.document_start + query_row) / kRows : 0;
  int position[kOwnRows], first_key[kOwnRows];
#pragma unroll
  for (int r = 0; r < kOwnRows; ++r) {
    const int query = first_query + own_row() + r;
    const bool here = query < a.query_length && a.document_start != nullptr;
    position[r] = num_tail_columns(offset + query);
    first_key[r] = here ? read_element(a.document_start + query_row + own_row() + r) : 0;
  }

  queries.copy_rows<kCount>(a.q.at(b, a.query_length, h, a.head_dim), a.q.stride, first_query,
                            a.query_length);
  OwnRows maximum, sum{};
#pragma unroll
  for (int r = 0; r < kOwnRows; ++r) maximum.at[r] = kHidden;
  RowSums output{};
#pragma unroll 1
  for (int tile = first_tile; tile <= last_tile; ++tile) {
    if (tile > first_tile) block_barrier();
    keys.copy_rows<kCount>(a.k.at(b, a.kv_length, kv_head, a.head_dim), a.k.stride, tile * kRows,
                           a.kv_length);
    values.copy_rows<kCount>(a.v.at(b, a.kv_length, kv_head, a.head_dim), a.v.stride, tile * kRows,
                             a.kv_length);
    block_barrier();
    const OwnRows scores = dot_rows(queries, keys);
    const int key = tile * kRows + lane();
#pragma unroll
    for (int r = 0; r < kOwnRows; ++r) {
      const bool seen = key <= position[r] && key >= first_key[r];
      const float score = scores.at[r] * a.scale;
      const float largest = warp_max(seen ? fmaxf(score, maximum.at[r]) : maximum.at[r]);
      const float fade = exp_for<T>(maximum.at[r] - largest);
      const float weight = seen ? exp_for<T>(score - largest) : 0.0f;
      maximum.at[r] = largest;
      sum.at[r] = sum.at[r] * fade + warp_sum(weight);
      weights.set(r, weight);
#pragma unroll
      for (int p = 0; p < kPacks; ++p) output.at[r][p] = output.at[r][p] * fade;
    }
    warp_barrier();
    weights.add_rows(output, values);
  }

  OwnRows factor;
#pragma unroll
  for (int r = 0; r < kOwnRows; ++r) {
    factor.at[r] = 1.0f / sum.at[r];
    const int query = first_query + own_row() + r;
    if (query < a.query_length && lane() == 0)
      write_element(a.lse + head * a.lse_stride + query, maximum.at[r] + logf(sum.at[r]));
  }
  store_sums<kCount>(a.o.at(b, a.query_length, h, a.head_dim), a.o.stride, first_query,
                     a.query_length, a.head_dim, output, factor);
}

}  // namespace

void attention_forward_reference(const Queue& queue, const AttentionForward& a) {
  const AttentionShape& s = a.shape;
  const std::int64_t num_tiles = div_ceil(s.query_length, kRows);
  const bool documents = a.document_start.data != nullptr;
  dispatch(a.q.dtype, [&]<class T>(T) {
    with_head_width<T>(
        all_aligned(a.q, a.k, a.v, a.o), s.head_dim, [&]<int kCount>(Columns<kCount>) {
          launch(forward_tile<T, kCount>,
                 {.num_blocks = num_tiles * s.batch * s.num_q_heads,
                  .block_threads = kRowsThreads,
                  .shared_bytes = reference_forward_bytes(s.head_dim)},
                 queue,
                 {.q = heads_of<T>(a.q),
                  .k = heads_of<T>(a.k),
                  .v = heads_of<T>(a.v),
                  .o = heads_of<T>(a.o),
                  .lse = a.lse.as<float>(),
                  .lse_stride = a.lse.stride,
                  .document_start = documents ? a.document_start.as<std::int32_t>() : nullptr,
                  .positions = query_positions(a),
                  .batch = narrow<int>(s.batch),
                  .num_q_heads = narrow<int>(s.num_q_heads),
                  .group = narrow<int>(div_exact(s.num_q_heads, s.num_kv_heads)),
                  .query_length = narrow<int>(s.query_length),
                  .kv_length = narrow<int>(s.kv_length),
                  .num_tiles = narrow<int>(num_tiles),
                  .head_dim = narrow<int>(s.head_dim),
                  .scale = 1.0f / std::sqrt(static_cast<float>(s.head_dim))});
        });
  });
}

}  // namespace espalier::kernels::ESPALIER_GPU
