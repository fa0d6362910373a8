#include "kernels/attention.hpp"

#include <cmath>

#include "base/host_loops.hpp"
#include "kernels/attention_tiles.hpp"
#include "kernels/dispatch.hpp"

namespace espalier::kernels {
namespace {

using simd::Floats;
using simd::Ints;

/// Stands for -infinity where a difference is taken: finite, so that no NaN arises, and far enough
/// below every score to vanish in exp2.
constexpr float kHidden = -1e30f;

void check_shapes(const AttentionShape& s, const device::ConstView& q, const device::ConstView& k,
                  const device::ConstView& v, const device::ConstView& o,
                  const device::ConstView& lse) {
  ESPALIER_ASSERT(s.num_kv_heads > 0 && s.num_q_heads % s.num_kv_heads == 0 &&
                      s.head_dim % 2 == 0 && s.first_query_position >= 0 &&
                      s.first_query_position + s.query_length <= s.kv_length,
                  "{} query heads, {} kv heads of {}; {} queries from {}, {} keys", s.num_q_heads,
                  s.num_kv_heads, s.head_dim, s.query_length, s.first_query_position, s.kv_length);
  ESPALIER_ASSERT(q.rows >= s.batch * s.query_length && q.cols == s.num_q_heads * s.head_dim &&
                      k.rows >= s.batch * s.kv_length && k.cols == s.num_kv_heads * s.head_dim &&
                      v.rows >= s.batch * s.kv_length && v.cols == k.cols &&
                      o.rows >= s.batch * s.query_length && o.cols == q.cols &&
                      lse.rows == s.batch * s.num_q_heads && lse.cols == s.query_length,
                  "q {}, k {}, v {}, o {}, lse {}", describe(q), describe(k), describe(v),
                  describe(o), describe(lse));
}

/// The tile's rows and where its scores end.
struct Tile {
  std::int64_t first_row, num_rows, num_vectors;
  std::int64_t first_position;  ///< of row 0 of the sequence
  std::int64_t group;

  Tile(const AttentionShape& s, std::int64_t index)
      : first_row(index * kTileRows),
        num_rows(
            std::min(kTileRows, s.query_length * (s.num_q_heads / s.num_kv_heads) - first_row)),
        num_vectors(div_ceil(num_rows, simd::kLanes)),
        first_position(s.first_query_position),
        group(s.num_q_heads / s.num_kv_heads) {}
  /// Keys that any of its rows attends to.
  std::int64_t num_keys() const { return first_position + (first_row + num_rows - 1) / group + 1; }
  /// Whether keys up to `end` are seen by all of its rows.
  bool sees_all(std::int64_t end) const { return end <= first_position + first_row / group + 1; }
  Ints positions(std::int64_t j) const {
    return lane_positions(first_row, group, first_position, j);
  }
};

std::int64_t num_tiles(const AttentionShape& s) {
  return div_ceil(s.query_length * (s.num_q_heads / s.num_kv_heads), kTileRows);
}

float scale_of(std::int64_t head_dim) {
  return 1.0f / std::sqrt(static_cast<float>(head_dim));
}

/// Scores of keys behind a row's position become kHidden. One vector of rows, `count` keys.
void hide_later_keys(float* scores, Ints positions, std::int64_t first, std::int64_t count) {
  for (std::int64_t i = 0; i < count; ++i) {
    const Ints key = Ints{} + static_cast<std::int32_t>(first + i);
    float* place = scores + i * kTileRows;
    simd::store(place, positions >= key ? simd::load(place) : simd::splat(kHidden));
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
      simd::store_units(weights, simd::as_ints(p));
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
  const std::int64_t woven_stride = round_up(head_dim, simd::kLanes);

  TileMemory memory(num_units * kTileRows + head_dim * kTileRows + 2 * kKeyBlock * kTileRows +
                    kKeyBlock * woven_stride);
  auto* queries = memory.take<std::int32_t>(num_units * kTileRows);  // (D / unit, lanes)
  float* output = memory.take(head_dim * kTileRows);                 // (D, lanes)
  float* scores = memory.take(kKeyBlock * kTileRows);                // (keys, lanes)
  auto* weights = memory.take<std::int32_t>(kKeyBlock * kTileRows);  // (keys / unit, lanes) of T
  auto* values = memory.take<std::int32_t>(kKeyBlock * woven_stride);
  pack_lanes<T>(queries, q, tile.first_row, tile.num_rows, head_dim);

  Floats maxima[kTileVectors];
  Floats sums[kTileVectors];
  for (std::int64_t j = 0; j < kTileVectors; ++j) {
    maxima[j] = simd::splat(kHidden);
    sums[j] = Floats{};
  }
  for (std::int64_t first = 0; first < tile.num_keys(); first += kKeyBlock) {
    const std::int64_t count = std::min(kKeyBlock, tile.num_keys() - first);
    const std::int64_t key_bytes = k.stride * static_cast<std::int64_t>(sizeof(T));
    tile_gemm<T>(scores, kTileRows, TileA{k(first), key_bytes, 4}, TileB{queries, kTileRows}, count,
                 tile.num_vectors, num_units, false);
    const bool masked = !tile.sees_all(first + count);
    for (std::int64_t j = 0; j < tile.num_vectors; ++j) {
      const std::int64_t lane = j * simd::kLanes;
      if (masked) hide_later_keys(scores + lane, tile.positions(j), first, count);
      const Floats maximum = column_maximum(scores + lane, count, maxima[j]);
      const Floats shift = maximum * scale;
      const Floats fade = simd::exp2_for<T>(maxima[j] * scale - shift);
      maxima[j] = maximum;
      sums[j] =
          sums[j] * fade + column_weights<T>(weights + lane, scores + lane, count, scale, shift);
      // Once the maximum has settled there is nothing to fade.
      if (first == 0 || simd::all_equal(fade, simd::splat(1.0f))) continue;
      for (std::int64_t d = 0; d < head_dim; ++d) {
        float* place = output + d * kTileRows + lane;
        simd::store(place, simd::load(place) * fade);
      }
    }
    pack_woven<T>(values, woven_stride, v, first, count, head_dim);
    tile_gemm<T>(output, kTileRows, TileA{values, 4, 4 * woven_stride}, TileB{weights, kTileRows},
                 head_dim, tile.num_vectors, div_ceil(count, kUnit<T>), first > 0);
  }
  alignas(64) float lse[kTileRows];
  alignas(64) float factors[kTileRows];
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

/// The sequence is cut into this many sets of query tiles, each with its own partial dk and dv, so
/// that a few heads still occupy a machine. A function of the shape only: the same sums for any
/// number of threads.
std::int64_t num_splits(const AttentionShape& s) {
  constexpr std::int64_t kEnoughTasks = 16;
  return std::min(num_tiles(s), div_ceil(kEnoughTasks, s.batch * s.num_kv_heads));
}

/// f32 elements of one partial dk or dv: (S_kv, D rounded up to whole vectors).
std::int64_t partial_elements(const AttentionShape& s) {
  return s.kv_length * round_up(s.head_dim, simd::kLanes);
}

/// Packed forms of one tile of queries and its gradients, and the scores of one block of keys.
/// Lanes are query rows, as in the forward pass.
template <class T>
class BackwardTile {
 public:
  BackwardTile(const AttentionBackward& a, std::int64_t b, std::int64_t kv)
      : a_(a),
        s_(a.shape),
        b_(b),
        kv_(kv),
        group_(s_.num_q_heads / s_.num_kv_heads),
        num_units_(s_.head_dim / kUnit<T>),
        stride_(round_up(s_.head_dim, simd::kLanes)),
        scale_(scale_of(s_.head_dim) * simd::kLog2E),
        memory_(2 * num_units_ * kTileRows + 2 * kTileRows * stride_ + kKeyBlock * stride_ +
                s_.head_dim * kTileRows + 5 * kKeyBlock * kTileRows + 2 * kTileRows),
        q_lanes_(memory_.template take<std::int32_t>(num_units_ * kTileRows)),
        d_o_lanes_(memory_.template take<std::int32_t>(num_units_ * kTileRows)),
        q_woven_(memory_.template take<std::int32_t>(kTileRows * stride_)),
        d_o_woven_(memory_.template take<std::int32_t>(kTileRows * stride_)),
        k_woven_(memory_.template take<std::int32_t>(kKeyBlock * stride_)),
        d_q_(memory_.take(s_.head_dim * kTileRows)),
        scores_(memory_.take(kKeyBlock * kTileRows)),
        d_p_(memory_.take(kKeyBlock * kTileRows)),
        p_(memory_.template take<T>(kKeyBlock * kTileRows)),
        d_s_(memory_.template take<T>(kKeyBlock * kTileRows)),
        d_s_woven_(memory_.template take<std::int32_t>(kKeyBlock * kTileRows)),
        lse_(memory_.take(kTileRows)),
        delta_(memory_.take(kTileRows)) {}

  /// Adds the tile's part to d_k and d_v, (S_kv, stride) f32, without the factor 1/sqrt(D) of d_k,
  /// and writes its rows of d_q.
  void run(const Tile& tile, float* d_k, float* d_v) {
    load(tile);
    for (std::int64_t first = 0; first < tile.num_keys(); first += kKeyBlock)
      add_block(tile, first, std::min(kKeyBlock, tile.num_keys() - first), d_k, d_v);
    alignas(64) float factors[kTileRows];
    std::fill_n(factors, kTileRows, scale_of(s_.head_dim));
    unpack_lanes<T>(rows(a_.d_q), tile.first_row, tile.num_rows, d_q_, s_.head_dim, factors);
  }

 private:
  template <class View>
  auto rows(const View& view) const {
    return head_rows<T>(view, b_, s_.query_length, kv_, group_, s_.head_dim);
  }

  void load(const Tile& tile) {
    const auto q = rows(a_.q);
    const auto o = rows(a_.o);
    const auto d_o = rows(a_.d_o);
    pack_lanes<T>(q_lanes_, q, tile.first_row, tile.num_rows, s_.head_dim);
    pack_lanes<T>(d_o_lanes_, d_o, tile.first_row, tile.num_rows, s_.head_dim);
    pack_woven<T>(q_woven_, stride_, q, tile.first_row, tile.num_rows, s_.head_dim);
    pack_woven<T>(d_o_woven_, stride_, d_o, tile.first_row, tile.num_rows, s_.head_dim);
    for (std::int64_t lane = 0; lane < kTileRows; ++lane) {
      // Lanes without a row have probability 0 and so no gradient.
      lse_[lane] = -kHidden;
      delta_[lane] = 0.0f;
      if (lane >= tile.num_rows) continue;
      const std::int64_t row = tile.first_row + lane;
      lse_[lane] =
          a_.lse.as<float>(b_ * s_.num_q_heads + kv_ * group_ + row % group_)[row / group_] *
          simd::kLog2E;
      Floats products{};
      simd::for_lanes(s_.head_dim, [&](std::int64_t d, auto lanes) {
        products =
            simd::fma(simd::load(o(row) + d, lanes), simd::load(d_o(row) + d, lanes), products);
      });
      delta_[lane] = simd::sum(products);
    }
  }

  void add_block(const Tile& tile, std::int64_t first, std::int64_t count, float* d_k, float* d_v) {
    const auto k = head_rows<T>(a_.k, b_, s_.kv_length, kv_, 1, s_.head_dim);
    const auto v = head_rows<T>(a_.v, b_, s_.kv_length, kv_, 1, s_.head_dim);
    constexpr auto kBytes = static_cast<std::int64_t>(sizeof(T));
    tile_gemm<T>(scores_, kTileRows, TileA{k(first), k.stride * kBytes, 4},
                 TileB{q_lanes_, kTileRows}, count, tile.num_vectors, num_units_, false);
    tile_gemm<T>(d_p_, kTileRows, TileA{v(first), v.stride * kBytes, 4},
                 TileB{d_o_lanes_, kTileRows}, count, tile.num_vectors, num_units_, false);
    const bool masked = !tile.sees_all(first + count);
    for (std::int64_t j = 0; j < tile.num_vectors; ++j)
      masked ? differentiate<true>(tile, first, count, j)
             : differentiate<false>(tile, first, count, j);
    const std::int64_t row_units = div_ceil(tile.num_rows, kUnit<T>);
    const std::int64_t num_vectors = stride_ / simd::kLanes;
    tile_gemm<T>(d_v + first * stride_, stride_, TileA{p_, kTileRows * kBytes, 4},
                 TileB{d_o_woven_, stride_}, count, num_vectors, row_units, true);
    tile_gemm<T>(d_k + first * stride_, stride_, TileA{d_s_, kTileRows * kBytes, 4},
                 TileB{q_woven_, stride_}, count, num_vectors, row_units, true);
    pack_woven<T>(k_woven_, stride_, k, first, count, s_.head_dim);
    tile_gemm<T>(d_q_, kTileRows, TileA{k_woven_, 4, 4 * stride_}, TileB{d_s_woven_, kTileRows},
                 s_.head_dim, tile.num_vectors, div_ceil(count, kUnit<T>), first > 0);
  }

  /// P and dS of one vector of rows: by key for the products that sum over rows, and woven for the
  /// one that sums over keys.
  template <bool kMasked>
  void differentiate(const Tile& tile, std::int64_t first, std::int64_t count, std::int64_t j) {
    const std::int64_t column = j * simd::kLanes;
    const Ints positions = tile.positions(j);
    const Floats lse = simd::load(lse_ + column);
    const Floats delta = simd::load(delta_ + column);
    const auto gradient = [&](std::int64_t i) {
      const std::int64_t place = i * kTileRows + column;
      Floats p = simd::exp2_for<T>(simd::load(scores_ + place) * scale_ - lse);
      if constexpr (kMasked)
        p = positions >= Ints{} + static_cast<std::int32_t>(first + i) ? p : Floats{};
      const Floats d_s = p * (simd::load(d_p_ + place) - delta);
      simd::store(p_ + place, p);
      simd::store(d_s_ + place, d_s);
      return d_s;
    };
    for (std::int64_t i = 0; i < count; i += kUnit<T>) {
      const Floats d_s = gradient(i);
      std::int32_t* woven = d_s_woven_ + i / kUnit<T> * kTileRows + column;
      if constexpr (kUnit<T> == 1)
        simd::store_units(woven, simd::as_ints(d_s));
      else
        simd::store_units(woven, simd::pair(d_s, i + 1 < count ? gradient(i + 1) : Floats{}));
    }
  }

  const AttentionBackward& a_;
  const AttentionShape& s_;
  std::int64_t b_, kv_, group_, num_units_, stride_;
  float scale_;
  TileMemory memory_;
  std::int32_t *q_lanes_, *d_o_lanes_;             // (D / unit, lanes)
  std::int32_t *q_woven_, *d_o_woven_, *k_woven_;  // (rows / unit, stride)
  float* d_q_;                                     // (D, lanes)
  float *scores_, *d_p_;                           // (keys, lanes)
  T *p_, *d_s_;                                    // (keys, lanes)
  std::int32_t* d_s_woven_;                        // (keys / unit, lanes)
  float *lse_, *delta_;                            // (lanes); lse in base 2
};

/// out = scale * the sum of the splits' partials, in their order.
template <class T>
void write_sum(const device::View& out, const AttentionShape& s, std::int64_t b, std::int64_t kv,
               const float* partials, std::int64_t distance, std::int64_t splits, float scale) {
  const auto rows = head_rows<T>(out, b, s.kv_length, kv, 1, s.head_dim);
  const std::int64_t stride = round_up(s.head_dim, simd::kLanes);
  for (std::int64_t key = 0; key < s.kv_length; ++key)
    simd::for_lanes(s.head_dim, [&](std::int64_t d, auto lanes) {
      Floats sum = simd::load(partials + key * stride + d);
      for (std::int64_t split = 1; split < splits; ++split)
        sum += simd::load(partials + split * distance + key * stride + d);
      simd::store(rows(key) + d, sum * scale, lanes);
    });
}

}  // namespace

void attention_forward(device::Context&, const AttentionForward& a) {
  const AttentionShape& s = a.shape;
  check_shapes(s, a.q, a.k, a.v, a.o, a.lse);
  const std::int64_t tiles = num_tiles(s);
  const std::int64_t heads = s.batch * s.num_kv_heads;
  dispatch(a.q.dtype, [&]<class T>(T) {
    host_for_tasks(heads * tiles, [&](std::int64_t task) {
      // The last tiles see most keys: they go first, so that the threads end together.
      const std::int64_t head = task % heads;
      forward_tile<T>(a, head / s.num_kv_heads, head % s.num_kv_heads,
                      Tile(s, tiles - 1 - task / heads));
    });
  });
}

void attention_backward(device::Context&, const AttentionBackward& a) {
  const AttentionShape& s = a.shape;
  check_shapes(s, a.q, a.k, a.v, a.o, a.lse);
  ESPALIER_ASSERT(s.query_length == s.kv_length && s.first_query_position == 0,
                  "{} queries from {}, {} keys", s.query_length, s.first_query_position,
                  s.kv_length);
  ESPALIER_ASSERT(
      a.scratch.size() >= attention_backward_scratch_elements(s) && a.scratch.is_contiguous(),
      "scratch {}, {} elements wanted", describe(a.scratch),
      attention_backward_scratch_elements(s));
  const std::int64_t splits = num_splits(s);
  const std::int64_t heads = s.batch * s.num_kv_heads;
  const std::int64_t elements = partial_elements(s);
  // (splits, heads, {dk, dv}, S_kv, stride) f32
  float* partials = a.scratch.as<float>();
  const std::int64_t distance = heads * 2 * elements;
  dispatch(a.q.dtype, [&]<class T>(T) {
    const auto write = [&](std::int64_t head) {
      const std::int64_t b = head / s.num_kv_heads;
      const std::int64_t kv = head % s.num_kv_heads;
      const float* d_k = partials + head * 2 * elements;
      const float scale = scale_of(s.head_dim);
      write_sum<T>(a.d_k, s, b, kv, d_k, distance, splits, scale);
      write_sum<T>(a.d_v, s, b, kv, d_k + elements, distance, splits, 1.0f);
    };
    host_for_tasks(heads * splits, [&](std::int64_t task) {
      const std::int64_t head = task % heads;
      float* d_k = partials + task * 2 * elements;
      std::fill_n(d_k, 2 * elements, 0.0f);
      BackwardTile<T> work(a, head / s.num_kv_heads, head % s.num_kv_heads);
      for (std::int64_t i = task / heads; i < num_tiles(s); i += splits)
        work.run(Tile(s, i), d_k, d_k + elements);
      if (splits == 1) write(head);
    });
    if (splits > 1) host_for_tasks(heads, write);
  });
}

std::int64_t attention_backward_scratch_elements(const AttentionShape& s) {
  return std::max(s.batch * s.num_q_heads * s.query_length,
                  num_splits(s) * s.batch * s.num_kv_heads * 2 * partial_elements(s));
}

}  // namespace espalier::kernels
