#pragma once
// What the kernels of attention's gradients by warpgroups share: what they know of a query, and how
// a block that owns keys keeps and uses it.
#include <bit>

#include "base/integers.hpp"
#include "kernels/cuda/attention_warpgroups.hpp"
#include "kernels/cuda/heads.hpp"
#include "kernels/cuda/pack.hpp"
#include "kernels/cuda/query_positions.hpp"

namespace espalier::kernels::ESPALIER_GPU {

constexpr int kOwnRows = kConsumers * kGroupRows;
constexpr int kPassingQueries = 64;

/// lse and delta of all queries, and the keys that they see.
struct QueryRows {
  const float* lse;
  std::int64_t lse_stride;
  const float* delta;                  ///< (B * A_loc, S)
  const std::int32_t* document_start;  ///< nullptr: a query sees all keys before it
  QueryPositions positions;
  int num_q_heads, length;
};
inline QueryRows query_rows(const AttentionBackward& a) {
  return {.lse = a.lse.as<float>(),
          .lse_stride = a.lse.stride,
          .delta = a.scratch.as<float>(),
          .document_start =
              a.document_start.data != nullptr ? a.document_start.as<std::int32_t>() : nullptr,
          .positions = query_positions(a),
          .num_q_heads = narrow<int>(a.shape.num_q_heads),
          .length = narrow<int>(a.shape.query_length)};
}

/// What is known of a query: the keys it sees, and its row of the softmax.
struct Query {
  int first_key;
  float lse, delta;  ///< lse in units of log 2
};
/// Of a query that there is not, all probabilities are zero.
constexpr float kNoSuchQuery = 1e30f;
ESPALIER_DEVICE int first_key_of(const QueryRows& a, int b, int query) {
  return a.document_start != nullptr
             ? read_element(a.document_start + static_cast<std::int64_t>(b) * a.length + query)
             : 0;
}
ESPALIER_DEVICE Query query_of(const QueryRows& a, int b, int h, int query) {
  if (query >= a.length) return {0, kNoSuchQuery, 0.0f};
  const std::int64_t head = static_cast<std::int64_t>(b) * a.num_q_heads + h;
  return {first_key_of(a, b, query), read_element(a.lse + head * a.lse_stride + query) * kLog2OfE,
          read_element(a.delta + head * a.length + query)};
}

/// Tiles of kPassingQueries, from `first` to before `end`, of the queries that see any of kOwnRows
/// keys from first_key on. Without blocks of queries there always are some. By all lanes of a warp.
struct QueryTiles {
  int first, end;
};
template <bool kBlocks>
ESPALIER_DEVICE QueryTiles tiles_of_queries(const QueryRows& a, int b, int first_key) {
  const int first = kBlocks ? a.positions.first_query_from(b, first_key) : first_key;
  const int end = end_of_queries(a.document_start, b, a.length, first, first_key + kOwnRows);
  return {first / kPassingQueries, (end + kPassingQueries - 1) / kPassingQueries};
}

/// In shared memory, what is known of the queries that pass by a block's keys: who multiplies then
/// has it by column without shuffles.
template <int kStages>
struct PassingRows {
  static constexpr int kCount = kStages * kPassingQueries;
  static constexpr std::int64_t kBytes = 2 * shared_bytes<float>(kCount) +
                                         shared_bytes<std::int32_t>(kCount) +
                                         shared_bytes<std::int32_t>(kStages);

  SharedArray<float> lse, delta;
  SharedArray<std::int32_t> document_start;
  /// By stage, of a tile's first query; with blocks alone.
  SharedArray<std::int32_t> position;

  ESPALIER_DEVICE explicit PassingRows(SharedAllocator& shared)
      : lse(shared.take<float>(kCount)),
        delta(shared.take<float>(kCount)),
        document_start(shared.take<std::int32_t>(kCount)),
        position(shared.take<std::int32_t>(kStages)) {}
  ESPALIER_DEVICE void set(int at, const Query& query) const {
    lse.set(at, query.lse);
    delta.set(at, query.delta);
    document_start.set(at, query.first_key);
  }
};

/// A number for each query that passes; a thread has those of its columns, two of each eight.
using QueryColumns = float[kPassingQueries / 4];
ESPALIER_DEVICE void read_columns(QueryColumns& columns, const SharedArray<float>& rows,
                                  int first) {
#pragma unroll
  for (int i = 0; i < kPassingQueries / 4; i += 2) {
    const Words<2> pair = rows.template read_words<2>(first + group_col(2 * i));
    columns[i] = std::bit_cast<float>(pair.at[0]);
    columns[i + 1] = std::bit_cast<float>(pair.at[1]);
  }
}
/// Which of them belongs to the thread's result i.
ESPALIER_DEVICE constexpr int column(int i) {
  return i / 4 * 2 + i % 2;
}

/// Hides scores (keys, queries) of 64 keys and the queries that pass; what is known of these begins
/// at `first_row`.
template <bool kBlocks, int kStages>
ESPALIER_DEVICE void hide_unseen(float (&scores)[kPassingQueries / 2], const QueryRows& a,
                                 const PassingRows<kStages>& rows, int first_row, int first_key,
                                 int first_query) {
  // The last query sees the fewest of the document starts. Tiles of blocks are whole.
  const int last_query = kBlocks || first_query + kPassingQueries < a.length
                             ? kPassingQueries - 1
                             : a.length - 1 - first_query;
  const int first_position = kBlocks ? rows.position.get(first_row / kPassingQueries) : first_query;
  if (first_position + 1 < first_key + kGroupRows ||
      (a.document_start != nullptr &&
       rows.document_start.get(first_row + last_query) > first_key)) {
#pragma unroll
    for (int i = 0; i < kPassingQueries / 2; ++i) {
      const int key = first_key + group_row(i);
      const int first_seen =
          a.document_start != nullptr ? rows.document_start.get(first_row + group_col(i)) : 0;
      if (key > first_position + group_col(i) || key < first_seen) scores[i] = kHidden;
    }
  }
}

/// A warpgroup writes the sums of its 64 rows, times factor, as they are: four lanes fill 32 bytes
/// of a row.
template <int kHeadDim>
ESPALIER_DEVICE void store_sums(float* matrix, std::int64_t stride, int first_row,
                                const float (&sums)[kHeadDim / 2], float factor) {
#pragma unroll
  for (int i = 0; i < kHeadDim / 2; i += 2)
    store(matrix + (first_row + group_row(i)) * stride + group_col(i),
          Pack<2>{{sums[i] * factor, sums[i + 1] * factor}});
}

/// Begins two groups of products of 64 of the block's own rows by the tiles that pass in this
/// iteration, as they come: the scores, and the gradients of the probabilities.
template <class Tiles, int kCount>
ESPALIER_DEVICE void begin_scores_and_gradients(float (&scores)[kCount], float (&gradients)[kCount],
                                                const Tiles& tiles, int group_first,
                                                int iteration) {
  tiles.passing[0].consumer_wait(iteration);
  begin_products();
  multiply_rows(scores, tiles.own[0], group_first, tiles.passing[0].tile(iteration));
  end_products();
  tiles.passing[1].consumer_wait(iteration);
  begin_products();
  multiply_rows(gradients, tiles.own[1], group_first, tiles.passing[1].tile(iteration));
  end_products();
}

}  // namespace espalier::kernels::ESPALIER_GPU
