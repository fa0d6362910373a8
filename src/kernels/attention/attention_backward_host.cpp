#include "kernels/attention/attention.hpp"

#include <algorithm>

#include "base/host_loops.hpp"
#include "kernels/backends.hpp"
#include "kernels/dispatch.hpp"

// Last: what follows is compiled for one SIMD level.
#include "kernels/attention/attention_tiles.hpp"

namespace espalier::kernels::host::ESPALIER_SIMD {
namespace {

using simd::Floats;
using simd::Ints;

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
        stride_(partial_stride(s_)),
        scale_(scale_of(s_.head_dim) * simd::kLog2E),
        memory_(2 * num_units_ * kTileRows + 2 * kTileRows * stride_ + kKeyBlock * stride_ +
                s_.head_dim * (kTileRows + kKeyBlock) + 5 * kKeyBlock * kTileRows + 2 * kTileRows),
        q_lanes_(memory_.template take<std::int32_t>(num_units_ * kTileRows)),
        d_o_lanes_(memory_.template take<std::int32_t>(num_units_ * kTileRows)),
        q_woven_(memory_.template take<std::int32_t>(kTileRows * stride_)),
        d_o_woven_(memory_.template take<std::int32_t>(kTileRows * stride_)),
        k_woven_(memory_.template take<std::int32_t>(kKeyBlock * stride_)),
        d_q_(memory_.take(s_.head_dim * kTileRows)),
        scores_(memory_.take(kKeyBlock * kTileRows)),
        d_p_(memory_.take(kKeyBlock * kTileRows)),
        p_(kUnit<T> == 1 ? reinterpret_cast<UnitOf<T>*>(scores_)
                         : memory_.template take<UnitOf<T>>(kKeyBlock * kTileRows)),
        d_s_(kUnit<T> == 1 ? reinterpret_cast<UnitOf<T>*>(d_p_)
                           : memory_.template take<UnitOf<T>>(kKeyBlock * kTileRows)),
        d_s_woven_(kUnit<T> == 1 ? reinterpret_cast<std::int32_t*>(d_s_)
                                 : memory_.template take<std::int32_t>(kKeyBlock * kTileRows)),
        lse_(memory_.take(kTileRows)),
        delta_(memory_.take(kTileRows)),
        widened_(memory_.take(kKeyBlock * s_.head_dim)) {}

  /// Adds the tile's part to d_k and d_v, (S_kv, stride) f32, without the factor 1/sqrt(D) of d_k,
  /// and writes its rows of d_q.
  void run(const Tile& tile, float* d_k, float* d_v) {
    load(tile);
    for (std::int64_t first = tile.first_key; first < tile.end_key(); first += kKeyBlock)
      add_block(tile, first, std::min(kKeyBlock, tile.end_key() - first), d_k, d_v);
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
    constexpr auto kBytes = static_cast<std::int64_t>(sizeof(UnitOf<T>));
    tile_gemm<T>(scores_, kTileRows, left_operand<T>(widened_, k, first, count, s_.head_dim),
                 TileB{q_lanes_, kTileRows}, count, tile.num_vectors, num_units_, false);
    tile_gemm<T>(d_p_, kTileRows, left_operand<T>(widened_, v, first, count, s_.head_dim),
                 TileB{d_o_lanes_, kTileRows}, count, tile.num_vectors, num_units_, false);
    const bool masked = !tile.sees_all(first, first + count);
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
                 s_.head_dim, tile.num_vectors, div_ceil(count, kUnit<T>), first > tile.first_key);
  }

  /// P and dS of one vector of rows (in fp32 in place of the scores and of dP): by key for the
  /// products that sum over rows, and woven for the one that sums over keys.
  template <bool kMasked>
  void differentiate(const Tile& tile, std::int64_t first, std::int64_t count, std::int64_t j) {
    const std::int64_t column = j * simd::kLanes;
    const Ints positions = tile.positions(j);
    const Floats lse = simd::load(lse_ + column);
    const Floats delta = simd::load(delta_ + column);
    const auto gradient = [&](std::int64_t i) {
      const std::int64_t place = i * kTileRows + column;
      Floats p = simd::exp2_for<T>(simd::load(scores_ + place) * scale_ - lse);
      if constexpr (kMasked) p = tile.attends(j, positions, first + i) ? p : Floats{};
      const Floats d_s = p * (simd::load(d_p_ + place) - delta);
      simd::store(p_ + place, as_unit<T>(p));
      simd::store(d_s_ + place, as_unit<T>(d_s));
      return d_s;
    };
    for (std::int64_t i = 0; i < count; i += kUnit<T>) {
      const Floats d_s = gradient(i);
      std::int32_t* woven = d_s_woven_ + i / kUnit<T> * kTileRows + column;
      if constexpr (kUnit<T> == 2)
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
  UnitOf<T>*p_, *d_s_;                             // (keys, lanes)
  std::int32_t* d_s_woven_;                        // (keys / unit, lanes)
  float *lse_, *delta_;                            // (lanes); lse in base 2
  float* widened_;                                 // for left_operand
};

/// out = scale * the sum of the splits' partials, in their order.
template <class T>
void write_sum(const device::View& out, const AttentionShape& s, std::int64_t b, std::int64_t kv,
               const float* partials, std::int64_t distance, std::int64_t splits, float scale) {
  const auto rows = head_rows<T>(out, b, s.kv_length, kv, 1, s.head_dim);
  const std::int64_t stride = partial_stride(s);
  for (std::int64_t key = 0; key < s.kv_length; ++key)
    simd::for_lanes(s.head_dim, [&](std::int64_t d, auto lanes) {
      Floats sum = simd::load(partials + key * stride + d);
      for (std::int64_t split = 1; split < splits; ++split)
        sum += simd::load(partials + split * distance + key * stride + d);
      simd::store(rows(key) + d, sum * scale, lanes);
    });
}

}  // namespace

void attention_backward(device::Context&, const AttentionBackward& a) {
  const AttentionShape& s = a.shape;
  check_attention_shapes(s, a.q, a.k, a.v, a.o, a.lse);
  check_block_starts(s, a.block_starts);
  check_document_start(s, a.document_start, a.block_starts);
  ESPALIER_ASSERT(
      s.block_length > 0 || (s.query_length == s.kv_length && s.first_query_position == 0),
      "{} queries from {}, {} keys", s.query_length, s.first_query_position, s.kv_length);
  const DType of_keys = s.block_length > 0 ? DType::f32 : a.q.dtype;
  ESPALIER_ASSERT(a.d_k.dtype == of_keys && a.d_v.dtype == of_keys, "d_k {}, d_v {}",
                  describe(a.d_k), describe(a.d_v));
  ESPALIER_ASSERT(
      a.scratch.size() >= attention_backward_scratch_elements(s) && a.scratch.is_contiguous(),
      "scratch {}, {} elements wanted", describe(a.scratch),
      attention_backward_scratch_elements(s));
  const std::int64_t splits = num_splits(s);
  const std::int64_t heads = s.batch * s.num_kv_heads;
  const std::int64_t elements = s.kv_length * partial_stride(s);
  // (splits, heads, {dk, dv}, S_kv, stride) f32
  float* partials = a.scratch.as<float>();
  const std::int64_t distance = heads * 2 * elements;
  dispatch(a.q.dtype, [&]<class T>(T) {
    const auto write = [&](std::int64_t head) {
      const std::int64_t b = head / s.num_kv_heads;
      const std::int64_t kv = head % s.num_kv_heads;
      const float* d_k = partials + head * 2 * elements;
      const float scale = scale_of(s.head_dim);
      dispatch(of_keys, [&]<class Sum>(Sum) {
        write_sum<Sum>(a.d_k, s, b, kv, d_k, distance, splits, scale);
        write_sum<Sum>(a.d_v, s, b, kv, d_k + elements, distance, splits, 1.0f);
      });
    };
    host_for_tasks(heads * splits, [&](std::int64_t task) {
      const std::int64_t head = task % heads;
      float* d_k = partials + task * 2 * elements;
      std::fill_n(d_k, 2 * elements, 0.0f);
      const std::int64_t b = head / s.num_kv_heads;
      BackwardTile<T> work(a, b, head % s.num_kv_heads);
      for (std::int64_t i = task / heads; i < num_tiles(s); i += splits)
        work.run(Tile(s, i, queries_of_sequence(a, b)), d_k, d_k + elements);
      if (splits == 1) write(head);
    });
    if (splits > 1) host_for_tasks(heads, write);
  });
}

}  // namespace espalier::kernels::host::ESPALIER_SIMD
