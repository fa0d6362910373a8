#pragma once
// Products of small tiles that stay in the first- and second-level caches, for attention. Operands
// are counted in 32-bit units along the summed dimension: one float, or two neighbouring bf16 where
// the SIMD level multiplies them. Elsewhere bf16 is widened when it is packed.
#include <cstdint>
#include <cstring>
#include <type_traits>

// Last: what follows is compiled for one SIMD level.
#include "base/simd/simd.hpp"

namespace espalier::kernels::host::ESPALIER_SIMD {

/// What the units of buffers of T hold.
template <class T>
using UnitOf = std::conditional_t<simd::kHasBf16Products, T, float>;
/// Elements of T in a unit.
template <class T>
constexpr std::int64_t kUnit = 4 / static_cast<std::int64_t>(sizeof(UnitOf<T>));

// The results that stay in registers, rows x vectors, beside a vector of each operand: AVX-512 and
// Arm have 32 registers, AVX2 and SSE 16, and without a fused product it takes one, too.
#if ESPALIER_SIMD_AVX512 || defined(__aarch64__)
constexpr int kBlockRows = 4;
constexpr int kBlockVectors = 4;
#elif ESPALIER_SIMD_AVX2
constexpr int kBlockRows = 6;
constexpr int kBlockVectors = 2;
#else
constexpr int kBlockRows = 4;
constexpr int kBlockVectors = 2;
#endif

/// The left operand: unit (row, k) lies row * row_bytes + k * k_bytes after data; any layout will
/// do, because its units are broadcast.
struct TileA {
  const void* data;
  std::int64_t row_bytes, k_bytes;
};

/// The right operand: k-th row of units at data + k * stride units, contiguous columns.
struct TileB {
  const void* data;
  std::int64_t stride;
};

namespace tile_detail {

template <class T>
inline simd::Ints broadcast(const TileA& a, std::int64_t row, std::int64_t k) {
  const char* place = static_cast<const char*>(a.data) + row * a.row_bytes + k * a.k_bytes;
  if constexpr (kUnit<T> == 1) {
    // As a float, not as an integer: Arm multiplies by a lane, if the compiler sees that it is one.
    float unit;
    std::memcpy(&unit, place, 4);
    return simd::as_ints(simd::splat(unit));
  } else {
    std::int32_t unit;
    std::memcpy(&unit, place, 4);
    return simd::Ints{} + unit;
  }
}

/// kRows x (16 kVectors) results in registers.
template <class T, int kRows, int kVectors>
inline void block(float* c, std::int64_t c_stride, const TileA& a, const TileB& b,
                  std::int64_t num_k, bool accumulate) {
  simd::Floats sum[kRows][kVectors];
  for (int i = 0; i < kRows; ++i)
    for (int j = 0; j < kVectors; ++j)
      sum[i][j] = accumulate ? simd::load(c + i * c_stride + j * simd::kLanes) : simd::Floats{};
  for (std::int64_t k = 0; k < num_k; ++k) {
    simd::Ints right[kVectors];
    for (int j = 0; j < kVectors; ++j)
      right[j] = simd::load_units(static_cast<const char*>(b.data) +
                                  4 * (k * b.stride + j * simd::kLanes));
    for (int i = 0; i < kRows; ++i) {
      const simd::Ints left = broadcast<T>(a, i, k);
      for (int j = 0; j < kVectors; ++j)
        sum[i][j] = simd::dot(sum[i][j], left, right[j], UnitOf<T>{});
    }
  }
  for (int i = 0; i < kRows; ++i)
    for (int j = 0; j < kVectors; ++j) simd::store(c + i * c_stride + j * simd::kLanes, sum[i][j]);
}

template <class T, int kVectors>
inline void column(float* c, std::int64_t c_stride, TileA a, const TileB& b, std::int64_t num_rows,
                   std::int64_t num_k, bool accumulate) {
  const auto advance = [&](std::int64_t rows) {
    c += rows * c_stride;
    a.data = static_cast<const char*>(a.data) + rows * a.row_bytes;
    num_rows -= rows;
  };
  for (; num_rows >= kBlockRows; advance(kBlockRows))
    block<T, kBlockRows, kVectors>(c, c_stride, a, b, num_k, accumulate);
  if constexpr (kBlockRows > 4)
    for (; num_rows >= 4; advance(4)) block<T, 4, kVectors>(c, c_stride, a, b, num_k, accumulate);
  for (; num_rows >= 1; advance(1)) block<T, 1, kVectors>(c, c_stride, a, b, num_k, accumulate);
}

}  // namespace tile_detail

/// c (num_rows, 16 num_vectors) f32 (+)= a (num_rows, num_k) b (num_k, 16 num_vectors), num_k
/// counted in units of T. The order of additions depends on the shapes only.
template <class T>
inline void tile_gemm(float* c, std::int64_t c_stride, const TileA& a, TileB b,
                      std::int64_t num_rows, std::int64_t num_vectors, std::int64_t num_k,
                      bool accumulate) {
  using namespace tile_detail;
  const auto advance = [&](std::int64_t vectors) {
    c += vectors * simd::kLanes;
    b.data = static_cast<const char*>(b.data) + 4 * vectors * simd::kLanes;
    num_vectors -= vectors;
  };
  for (; num_vectors >= kBlockVectors; advance(kBlockVectors))
    column<T, kBlockVectors>(c, c_stride, a, b, num_rows, num_k, accumulate);
  if constexpr (kBlockVectors > 2)
    for (; num_vectors >= 2; advance(2))
      column<T, 2>(c, c_stride, a, b, num_rows, num_k, accumulate);
  if (num_vectors == 1) column<T, 1>(c, c_stride, a, b, num_rows, num_k, accumulate);
}

}  // namespace espalier::kernels::host::ESPALIER_SIMD
