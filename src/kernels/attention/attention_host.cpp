#include "kernels/attention/attention.hpp"

#include <cmath>

#include "base/host_loops.hpp"
#include "kernels/backends.hpp"
#include "kernels/dispatch.hpp"

// Last: what follows is compiled for one SIMD level.
#include "kernels/attention/attention_tiles.hpp"

namespace espalier::kernels::host::ESPALIER_SIMD {
namespace {

using simd::Floats;
using simd::Ints;

/// Scores of keys that a row does not attend to become kHidden. Vector `j` of rows, `count` keys.
void hide_other_keys(float* scores, const Tile& tile, std::int64_t j, std::int64_t first,
                     std::int64_t count) {
  const Ints positions = tile.positions(j);
  for (std::int64_t i = 0; i < count; ++i) {
    float* place = scores + i * kTileRows;
    simd::store(place,
                tile.attends(j, positions, first + i) ? simd::load(place) : simd::splat(kHidden));
  }
}

/// The largest score of each row so far. A NaN may be lost here; it comes back in the sum.
Floats column_maximum(const float* scores, std::int64_t count, Floats maximum) {
  for (std::int64_t i = 0; i < count; ++i)
    maximum = simd::max(simd::load(scores + i * kTileRows), maximum);
  return maximum;
}

/// weights = exp2(scores * scale - shift), rounded to T and woven; returns the unrounded sums.
template <class T>
Floats column_weights(std::int32_t* weights, const float* scores, std::int64_t count, float scale,
                      Floats shift) {
  const auto weight = [&](std::int64_t i) {
    return simd::exp2_for<T>(simd::load(scores + i * kTileRows) * scale - shift);
  };
  Floats sum{};
  std::int64_t i = 0;
  for (; i + kUnit<T> <= count; i += kUnit<T>, weights += kTileRows) {
    const Floats p = weight(i);
    sum += p;
    if constexpr (kUnit<T> == 1) {
      simd::store_units(weights, simd::as_ints(as_unit<T>(p)));
    } else {
      const Floats next = weight(i + 1);
      sum += next;
      simd::store_units(weights, simd::pair(p, next));
    }
  }
  if (i < count) {
    const Floats p = weight(i);
    sum += p;
    simd::store_units(weights, simd::pair(p, Floats{}));
  }
  return sum;
}

/// Online softmax of one tile, lanes = query rows: the maxima and sums of all rows are vectors, and
/// no sum runs across lanes. Scores, probabilities and the output are kept transposed, (keys,
/// lanes) and (D, lanes); keys are read where they lie.
template <class T>
void forward_tile(const AttentionForward& a, std::int64_t b, std::int64_t kv, const Tile& tile) {
  const AttentionShape& s = a.shape;
  const std::int64_t head_dim = s.head_dim;
  const std::int64_t num_units = head_dim / kUnit<T>;
  const auto q = head_rows<T>(a.q, b, s.query_length, kv, tile.group, head_dim);
  const auto k = head_rows<T>(a.k, b, s.kv_length, kv, 1, head_dim);
  const auto v = head_rows<T>(a.v, b, s.kv_length, kv, 1, head_dim);
  const auto o = head_rows<T>(a.o, b, s.query_length, kv, tile.group, head_dim);
  const float scale = scale_of(head_dim) * simd::kLog2E;
  const std::int64_t woven_stride = partial_stride(s);

  TileMemory memory(num_units * kTileRows + head_dim * kTileRows + 2 * kKeyBlock * kTileRows +
                    kKeyBlock * (woven_stride + head_dim));
  auto* queries = memory.take<std::int32_t>(num_units * kTileRows);  // (D / unit, lanes)
  float* output = memory.take(head_dim * kTileRows);                 // (D, lanes)
  float* scores = memory.take(kKeyBlock * kTileRows);                // (keys, lanes)
  // (keys / unit, lanes) of T; fp32 probabilities take the place of their scores.
  auto* weights = kUnit<T> == 1 ? reinterpret_cast<std::int32_t*>(scores)
                                : memory.take<std::int32_t>(kKeyBlock * kTileRows);
  auto* values = memory.take<std::int32_t>(kKeyBlock * woven_stride);
  float* keys = memory.take(kKeyBlock * head_dim);  // for left_operand
  pack_lanes<T>(queries, q, tile.first_row, tile.num_rows, head_dim);

  Floats maxima[kTileVectors];
  Floats sums[kTileVectors];
  for (std::int64_t j = 0; j < kTileVectors; ++j) {
    maxima[j] = simd::splat(kHidden);
    sums[j] = Floats{};
  }
  for (std::int64_t first = tile.first_key; first < tile.end_key(); first += kKeyBlock) {
    const std::int64_t count = std::min(kKeyBlock, tile.end_key() - first);
    const bool is_first = first == tile.first_key;
    tile_gemm<T>(scores, kTileRows, left_operand<T>(keys, k, first, count, head_dim),
                 TileB{queries, kTileRows}, count, tile.num_vectors, num_units, false);
    const bool masked = !tile.sees_all(first, first + count);
    for (std::int64_t j = 0; j < tile.num_vectors; ++j) {
      const std::int64_t lane = j * simd::kLanes;
      if (masked) hide_other_keys(scores + lane, tile, j, first, count);
      const Floats maximum = column_maximum(scores + lane, count, maxima[j]);
      // A row that has seen hidden keys alone has no shift: its weights are 0, not exp2 of the
      // rounding error of a huge product.
      const Floats shift = maximum > simd::splat(kHidden) ? maximum * scale : Floats{};
      const Floats fade = simd::exp2_for<T>(maxima[j] * scale - shift);
      maxima[j] = maximum;
      sums[j] =
          sums[j] * fade + column_weights<T>(weights + lane, scores + lane, count, scale, shift);
      // Once the maximum has settled there is nothing to fade.
      if (is_first || simd::all_equal(fade, simd::splat(1.0f))) continue;
      for (std::int64_t d = 0; d < head_dim; ++d) {
        float* place = output + d * kTileRows + lane;
        simd::store(place, simd::load(place) * fade);
      }
    }
    pack_woven<T>(values, woven_stride, v, first, count, head_dim);
    tile_gemm<T>(output, kTileRows, TileA{values, 4, 4 * woven_stride}, TileB{weights, kTileRows},
                 head_dim, tile.num_vectors, div_ceil(count, kUnit<T>), !is_first);
  }
  alignas(64) float lse[kTileRows] = {};
  alignas(64) float factors[kTileRows] = {};
  for (std::int64_t j = 0; j < tile.num_vectors; ++j) {
    simd::store(factors + j * simd::kLanes, 1.0f / sums[j]);
    for (std::int64_t i = 0; i < simd::kLanes; ++i)
      lse[j * simd::kLanes + i] = maxima[j][i] * scale_of(head_dim) + std::log(sums[j][i]);
  }
  unpack_lanes<T>(o, tile.first_row, tile.num_rows, output, head_dim, factors);
  for (std::int64_t lane = 0; lane < tile.num_rows; ++lane) {
    const std::int64_t row = tile.first_row + lane;
    a.lse.as<float>(b * s.num_q_heads + kv * tile.group + row % tile.group)[row / tile.group] =
        lse[lane];
  }
}

}  // namespace

void attention_forward(device::Context&, const AttentionForward& a) {
  const AttentionShape& s = a.shape;
  check_attention_shapes(s, a.q, a.k, a.v, a.o, a.lse);
  check_block_starts(s, a.block_starts);
  check_document_start(s, a.document_start, a.block_starts);
  const std::int64_t tiles = num_tiles(s);
  const std::int64_t heads = s.batch * s.num_kv_heads;
  dispatch(a.q.dtype, [&]<class T>(T) {
    host_for_tasks(heads * tiles, [&](std::int64_t task) {
      // The last tiles see most keys: they go first, so that the threads end together.
      const std::int64_t head = task % heads;
      const std::int64_t b = head / s.num_kv_heads;
      forward_tile<T>(a, b, head % s.num_kv_heads,
                      Tile(s, tiles - 1 - task / heads, queries_of_sequence(a, b)));
    });
  });
}

}  // namespace espalier::kernels::host::ESPALIER_SIMD
