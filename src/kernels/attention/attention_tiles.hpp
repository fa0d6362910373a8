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

/// The tile's rows, and where their keys begin and end.
struct Tile {
  std::int64_t first_row, num_rows, num_vectors;
  std::int64_t first_position;  ///< of row 0 of the sequence
  std::int64_t group;
  std::int64_t first_key = 0;       ///< no row attends to a key before it
  std::int64_t last_first_key = 0;  ///< no row is kept from a key at or behind it by its first key
  alignas(64) std::int32_t document_start[kTileRows] = {};  ///< per lane

  /// `keys_of_sequence`: AttentionForward::document_start of this sequence, or null.
  Tile(const AttentionShape& s, std::int64_t index, const std::int32_t* keys_of_sequence)
      : first_row(index * kTileRows),
        num_rows(
            std::min(kTileRows, s.query_length * (s.num_q_heads / s.num_kv_heads) - first_row)),
        num_vectors(div_ceil(num_rows, simd::kLanes)),
        first_position(s.first_query_position),
        group(s.num_q_heads / s.num_kv_heads) {
    if (keys_of_sequence == nullptr) return;
    for (std::int64_t lane = 0; lane < num_rows; ++lane)
      document_start[lane] = keys_of_sequence[(first_row + lane) / group];
    // They never fall from row to row.
    first_key = document_start[0];
    last_first_key = document_start[num_rows - 1];
  }
  /// Behind the last key that any of its rows attends to.
  std::int64_t end_key() const { return first_position + (first_row + num_rows - 1) / group + 1; }
  /// Whether all of its rows attend to the keys begin .. end - 1.
  bool sees_all(std::int64_t begin, std::int64_t end) const {
    return begin >= last_first_key && end <= first_position + first_row / group + 1;
  }
  /// Lanes of vector `j` that attend to `key`, for simd's choice.
  auto attends(std::int64_t j, simd::Ints lane_positions, std::int64_t key) const {
    const simd::Ints keys = simd::Ints{} + static_cast<std::int32_t>(key);
    return (lane_positions >= keys) & (simd::load_units(document_start + j * simd::kLanes) <= keys);
  }
  /// Positions of the lanes of its vector `j`.
  simd::Ints positions(std::int64_t j) const {
    simd::Ints result;
    for (std::int64_t i = 0; i < simd::kLanes; ++i)
      result[i] =
          static_cast<std::int32_t>(first_position + (first_row + j * simd::kLanes + i) / group);
    return result;
  }
};

/// document_start of sequence `b`, or null.
inline const std::int32_t* keys_of_sequence(const device::ConstView& document_start,
                                            const AttentionShape& s, std::int64_t b) {
  return !document_start.exists() ? nullptr
                                  : document_start.as<std::int32_t>() + b * s.query_length;
}

/// The factor of the scores, 1 / sqrt(D).
inline float scale_of(std::int64_t head_dim) {
  return 1.0f / std::sqrt(static_cast<float>(head_dim));
}

}  // namespace espalier::kernels::host::ESPALIER_SIMD
