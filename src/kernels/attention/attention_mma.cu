// Attention by mma.sync and cp.async, for every architecture since Ampere: FlashAttention-2 (Dao
// 2023) with the probabilities kept in registers.
#include "kernels/cuda/attention_products.hpp"
#include "kernels/cuda/attention_providers.hpp"
#include "kernels/cuda/query_positions.hpp"
#include "kernels/cuda/shared_limits.hpp"
#include "kernels/cuda/tiling.hpp"

namespace espalier::kernels::ESPALIER_GPU {
namespace {

constexpr int kTileRows = 64;  ///< queries and keys of a tile; a warp has 16 of the queries
constexpr int kAttentionThreads = 128;
/// Below every score; finite, so that differences of two are not NaN.
constexpr float kHidden = -1e30f;

struct Forward {
  const bf16* q;
  const bf16* k;
  const bf16* v;
  bf16* o;
  float* lse;
  const std::int32_t* document_start;  ///< nullptr: a query sees all keys before it
  std::int64_t q_stride, k_stride, v_stride, o_stride, lse_stride;
  QueryPositions positions;
  int batch, num_q_heads, group;  ///< group: query heads of one kv head
  int query_length, kv_length, num_tiles;
  float scale;
};

/// What one block computes. The last tiles see most keys: they go first, so that blocks end
/// together.
struct Place {
  int tile, b, h;
};
ESPALIER_DEVICE Place place_of(const Forward& a, std::int64_t block) {
  const int heads = a.batch * a.num_q_heads;
  const int head = static_cast<int>(block % heads);
  return {a.num_tiles - 1 - static_cast<int>(block / heads), head / a.num_q_heads,
          head % a.num_q_heads};
}

/// One of the two queries of which a lane holds scores.
struct LaneRow {
  int row;        ///< of the tile
  int position;   ///< the last key that it sees
  int first_key;  ///< and the first
};
ESPALIER_DEVICE LaneRow lane_row(const Forward& a, const Place& place, int first_position,
                                 int second) {
  const int row = warp() * 16 + fragment_row(2 * second);
  const int query = place.tile * kTileRows + row;
  const bool here = query < a.query_length;
  const int first_key = here && a.document_start != nullptr
                            ? read_element(a.document_start + place.b * a.query_length + query)
                            : 0;
  return {row, num_tail_columns(first_position + row), first_key};
}

/// The scores of a warp's 16 queries and a tile's keys, later the probabilities.
using Scores = WarpMatrix<kTileRows>;

ESPALIER_DEVICE void hide_unseen(Scores& scores, const LaneRow (&rows)[2], int first_key) {
#pragma unroll
  for (int n = 0; n < kTileRows / 8; ++n)
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      const LaneRow& row = rows[i / 2];
      const int key = first_key + n * 8 + fragment_col(i);
      if (key > row.position || key < row.first_key) scores.at[n][i] = kHidden;
    }
}

/// One query's maximum and sum so far; four lanes share a row, each knows the sum of its columns.
struct Running {
  float maximum = kHidden;
  float sum = 0.0f;
};

/// Scores of row `r` become probabilities beside the new maximum. Returns the factor by which what
/// was summed before has to shrink.
ESPALIER_DEVICE float weigh(Running& running, Scores& scores, int r, float scale) {
  float maximum = running.maximum;
#pragma unroll
  for (int n = 0; n < kTileRows / 8; ++n)
    maximum = fmaxf(maximum, fmaxf(scores.at[n][2 * r], scores.at[n][2 * r + 1]));
  maximum = fmaxf(maximum, shuffle_xor(maximum, 1));
  maximum = fmaxf(maximum, shuffle_xor(maximum, 2));
  const float fade = fast_exp2((running.maximum - maximum) * scale);
  float sum = 0.0f;
#pragma unroll
  for (int n = 0; n < kTileRows / 8; ++n)
#pragma unroll
    for (int i = 2 * r; i < 2 * r + 2; ++i) {
      scores.at[n][i] = fast_exp2((scores.at[n][i] - maximum) * scale);
      sum += scores.at[n][i];
    }
  running = {maximum, running.sum * fade + sum};
  return fade;
}

/// Keys and values are copied one tile ahead, each into one of two places, so that the copy of one
/// runs beside the product with the other: of the two groups of copies under way, every wait takes
/// the older.
template <int kHeadDim>
ESPALIER_KERNEL(kAttentionThreads)
forward_tile(Forward a) {
  using Tile = SharedTile<kTileRows, kHeadDim>;
  SharedAllocator shared;
  const Tile query_tile(shared.take<bf16>(Tile::kElements));
  const auto key_places = shared.take<bf16>(2 * Tile::kElements);
  const auto value_places = shared.take<bf16>(2 * Tile::kElements);
  const auto place_in = [](const SharedArray<bf16>& places, int turn) {
    return Tile(places.part(turn % 2 * Tile::kElements, Tile::kElements));
  };

  const Place place = place_of(a, block_index());
  const int first_query = place.tile * kTileRows;
  const std::int64_t query_row = static_cast<std::int64_t>(place.b) * a.query_length;
  const std::int64_t key_row = static_cast<std::int64_t>(place.b) * a.kv_length;
  const int kv_head = place.h / a.group;
  const bf16* k = a.k + key_row * a.k_stride + kv_head * kHeadDim;
  const bf16* v = a.v + key_row * a.v_stride + kv_head * kHeadDim;
  const int last_query =
      first_query + kTileRows < a.query_length ? first_query + kTileRows - 1 : a.query_length - 1;
  const int offset = a.positions.offset(place.b, first_query);
  const int first_position = offset + first_query;
  const int last = (offset + last_query) / kTileRows;
  // The first document in the tile begins first.
  const int first = a.document_start != nullptr
                        ? read_element(a.document_start + query_row + first_query) / kTileRows
                        : 0;

  query_tile.copy_rows(a.q + query_row * a.q_stride + place.h * kHeadDim, a.q_stride, first_query,
                       a.query_length);
  place_in(key_places, first).copy_rows(k, a.k_stride, first * kTileRows, a.kv_length);
  commit_copies();
  place_in(value_places, first).copy_rows(v, a.v_stride, first * kTileRows, a.kv_length);
  commit_copies();

  const LaneRow rows[2] = {lane_row(a, place, first_position, 0),
                           lane_row(a, place, first_position, 1)};
  Words<4> queries[kHeadDim / 16];
  WarpMatrix<kHeadDim> output{};
  Running running[2];
#pragma unroll 1
  for (int tile = first; tile <= last; ++tile) {
    wait_for_copies<1>();
    block_barrier();
    if (tile == first)
#pragma unroll
      for (int d = 0; d < kHeadDim / 16; ++d) queries[d] = query_tile.left(warp() * 16, 2 * d);
    if (tile < last)
      place_in(key_places, tile + 1).copy_rows(k, a.k_stride, (tile + 1) * kTileRows, a.kv_length);
    commit_copies();
    Scores scores = multiply_rows([&](int d) { return queries[d]; }, place_in(key_places, tile));
    const int first_key = tile * kTileRows;
    if (a.document_start != nullptr || first_key + kTileRows > first_position)
      hide_unseen(scores, rows, first_key);
#pragma unroll
    for (int r = 0; r < 2; ++r) {
      const float fade = weigh(running[r], scores, r, a.scale * kLog2E);
#pragma unroll
      for (int n = 0; n < kHeadDim / 8; ++n) {
        output.at[n][2 * r] *= fade;
        output.at[n][2 * r + 1] *= fade;
      }
    }
    wait_for_copies<1>();
    block_barrier();
    if (tile < last)
      place_in(value_places, tile + 1)
          .copy_rows(v, a.v_stride, (tile + 1) * kTileRows, a.kv_length);
    commit_copies();
    add_product(output, scores, place_in(value_places, tile));
  }

  float factors[2];
#pragma unroll
  for (int r = 0; r < 2; ++r) {
    const float sum = group_sum(running[r].sum, 4);
    factors[r] = 1.0f / sum;
    const int query = first_query + rows[r].row;
    if (query < a.query_length && lane() % 4 == 0)
      write_element(
          a.lse + (static_cast<std::int64_t>(place.b) * a.num_q_heads + place.h) * a.lse_stride +
              query,
          running[r].maximum * a.scale + logf(sum));
  }
  // A warp's queries have been read by itself alone, before the last barrier.
  store_rows(a.o + query_row * a.o_stride + place.h * kHeadDim, a.o_stride,
             first_query + warp() * 16, a.query_length, query_tile, warp() * 16, output, factors);
}

template <int kHeadDim>
void launch_forward(const Queue& queue, const Forward& a) {
  constexpr std::int64_t kTiles = 5;  // queries, keys and values twice
  constexpr std::int64_t kBytes = kTiles * shared_bytes<bf16>(kTileRows * kHeadDim);
  static_assert(kBytes <= kSharedBytesEverywhere);
  launch(forward_tile<kHeadDim>,
         {.num_blocks = std::int64_t{a.num_tiles} * a.batch * a.num_q_heads,
          .block_threads = kAttentionThreads,
          .shared_bytes = kBytes},
         queue, a);
}

}  // namespace

void attention_forward_mma(const Queue& queue, const AttentionForward& a) {
  const AttentionShape& s = a.shape;
  const bool documents = a.document_start.data != nullptr;
  const Forward arguments{
      .q = a.q.as<bf16>(),
      .k = a.k.as<bf16>(),
      .v = a.v.as<bf16>(),
      .o = a.o.as<bf16>(),
      .lse = a.lse.as<float>(),
      .document_start = documents ? a.document_start.as<std::int32_t>() : nullptr,
      .q_stride = a.q.stride,
      .k_stride = a.k.stride,
      .v_stride = a.v.stride,
      .o_stride = a.o.stride,
      .lse_stride = a.lse.stride,
      .positions = query_positions(a),
      .batch = narrow<int>(s.batch),
      .num_q_heads = narrow<int>(s.num_q_heads),
      .group = narrow<int>(div_exact(s.num_q_heads, s.num_kv_heads)),
      .query_length = narrow<int>(s.query_length),
      .kv_length = narrow<int>(s.kv_length),
      .num_tiles = narrow<int>(div_ceil(s.query_length, kTileRows)),
      .scale = 1.0f / std::sqrt(static_cast<float>(s.head_dim))};
  if (s.head_dim == 64)
    launch_forward<64>(queue, arguments);
  else
    launch_forward<128>(queue, arguments);
}

}  // namespace espalier::kernels::ESPALIER_GPU
