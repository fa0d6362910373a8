#pragma once
// What the forward and the backward pass of attention share: how query rows are numbered, and the
// packed forms of a tile of rows.
#include <algorithm>
#include <cmath>
#include <cstdint>

#include "base/integers.hpp"
#include "kernels/attention/attention.hpp"
#include "kernels/attention/attention_shapes.hpp"

// Last: what follows is compiled for one SIMD level.
#include "base/simd/simd.hpp"
#include "kernels/tile_packing.hpp"

namespace espalier::kernels::host::ESPALIER_SIMD {

constexpr std::int64_t kTileVectors = kTileRows / simd::kLanes;

/// The rows that attend with one kv head of one sequence. All query heads of the group are taken
/// together, row = query * G + head of the group, so that a tile is full even when there is one
/// query (decoding), and every load of a key serves the whole group. For keys and values G = 1.
template <class Pointer>
struct HeadRows {
  Pointer base;  ///< first query, first head of the group
  std::int64_t stride;
  std::int64_t group;  ///< G
  std::int64_t head_dim;

  Pointer operator()(std::int64_t row) const {
    return base + row / group * stride + row % group * head_dim;
  }
};

/// Rows of sequence `b` and kv head `kv` in a view of heads; G = `group`.
template <class T, class View>
auto head_rows(const View& view, std::int64_t b, std::int64_t length, std::int64_t kv,
               std::int64_t group, std::int64_t head_dim) {
  auto* base = view.template as<T>(b * length) + kv * group * head_dim;
  return HeadRows<decltype(base)>{base, view.stride, group, head_dim};
}

/// x as a unit of T holds it: probabilities of bf16 are rounded to it also where units are floats,
/// so that every level and every GPU multiplies the same.
template <class T>
simd::Floats as_unit(simd::Floats x) {
  return kUnit<T> == 1 ? simd::rounded_to<T>(x) : x;
}

/// out[k][lane] = unit k of row `first + lane`; lanes >= count are zero. (D / kUnit, kTileRows)
template <class T, class Rows>
void pack_lanes(std::int32_t* out, const Rows& rows, std::int64_t first, std::int64_t count,
                std::int64_t head_dim) {
  pack_lanes<T>(out, kTileRows, rows, first, count, head_dim / kUnit<T>);
}

/// Rows first, first + 1, ... of `rows` = the transposed (D, kTileRows) `in`, lane by lane times
/// `factors` (kTileRows).
template <class T, class Rows>
void unpack_lanes(const Rows& rows, std::int64_t first, std::int64_t count, const float* in,
                  std::int64_t head_dim, const float* factors) {
  for (std::int64_t lane = 0; lane < count; lane += simd::kLanes)
    simd::for_lanes(head_dim, [&](std::int64_t d, auto width) {
      simd::Ints block[simd::kLanes];
      const simd::Floats factor = simd::load(factors + lane);
      for (std::int64_t i = 0; i < simd::count_of(width); ++i)
        block[i] = simd::as_ints(simd::load(in + (d + i) * kTileRows + lane) * factor);
      for (std::int64_t i = simd::count_of(width); i < simd::kLanes; ++i) block[i] = simd::Ints{};
      simd::transpose(block);
      for (std::int64_t i = 0; i < std::min(simd::kLanes, count - lane); ++i)
        simd::store(rows(first + lane + i) + d, simd::as_floats(block[i]), width);
    });
}

/// Stands for -infinity where a difference is taken: finite, so that no NaN arises, and far enough
/// below every score to vanish in exp2.
constexpr float kHidden = -1e30f;

/// What is known of the queries of one sequence; null where there is nothing to know.
struct SequenceQueries {
  const std::int32_t* document_start;  ///< AttentionForward::document_start
  const std::int32_t* block_starts;    ///< AttentionForward::block_starts
};

/// The tile's rows, and where their keys begin and end.
struct Tile {
  std::int64_t first_row, num_rows, num_vectors;
  std::int64_t group;
  std::int64_t least_position, most_position;  ///< of its rows
  std::int64_t first_key = 0;                  ///< no row attends to a key before it
  std::int64_t last_first_key = 0;  ///< no row is kept from a key at or behind it by its first key
  alignas(64) std::int32_t position[kTileRows] = {};        ///< per lane
  alignas(64) std::int32_t document_start[kTileRows] = {};  ///< per lane

  Tile(const AttentionShape& s, std::int64_t index, const SequenceQueries& queries)
      : first_row(index * kTileRows),
        num_rows(
            std::min(kTileRows, s.query_length * (s.num_q_heads / s.num_kv_heads) - first_row)),
        num_vectors(div_ceil(num_rows, simd::kLanes)),
        group(s.num_q_heads / s.num_kv_heads) {
    for (std::int64_t lane = 0; lane < num_rows; ++lane)
      position[lane] = static_cast<std::int32_t>(
          position_of(s, queries.block_starts, (first_row + lane) / group));
    // Neither positions nor first keys fall from row to row.
    least_position = position[0];
    most_position = position[num_rows - 1];
    if (queries.document_start == nullptr) return;
    for (std::int64_t lane = 0; lane < num_rows; ++lane)
      document_start[lane] = queries.document_start[(first_row + lane) / group];
    first_key = document_start[0];
    last_first_key = document_start[num_rows - 1];
  }
  /// Behind the last key that any of its rows attends to.
  std::int64_t end_key() const { return most_position + 1; }
  /// Whether all of its rows attend to the keys begin .. end - 1.
  bool sees_all(std::int64_t begin, std::int64_t end) const {
    return begin >= last_first_key && end <= least_position + 1;
  }
  /// Lanes of vector `j` that attend to `key`, for simd's choice.
  auto attends(std::int64_t j, simd::Ints lane_positions, std::int64_t key) const {
    const simd::Ints keys = simd::Ints{} + static_cast<std::int32_t>(key);
    return (lane_positions >= keys) & (simd::load_units(document_start + j * simd::kLanes) <= keys);
  }
  /// Positions of the lanes of its vector `j`; 0 of those without a row.
  simd::Ints positions(std::int64_t j) const {
    return simd::load_units(position + j * simd::kLanes);
  }
};

/// What `a`, a forward or a backward pass, knows of the queries of sequence `b`.
template <class Pass>
SequenceQueries queries_of_sequence(const Pass& a, std::int64_t b) {
  return {!a.document_start.exists()
              ? nullptr
              : a.document_start.template as<std::int32_t>() + b * a.shape.query_length,
          block_starts_of_sequence(a.block_starts, a.shape, b)};
}

/// The factor of the scores, 1 / sqrt(D).
inline float scale_of(std::int64_t head_dim) {
  return 1.0f / std::sqrt(static_cast<float>(head_dim));
}

}  // namespace espalier::kernels::host::ESPALIER_SIMD
