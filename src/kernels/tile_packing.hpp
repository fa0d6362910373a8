#pragma once
// The packed forms in which tile_gemm takes rows of a matrix, and the memory for them. `rows(i)` is
// where row i begins, rows.stride elements from one to the next.
#include <algorithm>
#include <cstdint>
#include <type_traits>
#include <vector>

#include "base/dtype.hpp"
#include "base/integers.hpp"

// Last: what follows is compiled for one SIMD level.
#include "base/simd/simd.hpp"
#include "kernels/tile_gemm.hpp"

namespace espalier::kernels::host::ESPALIER_SIMD {

/// Units k, k + 1, ... of a row of T, widened where units are floats.
template <class T, class Width>
simd::Ints load_units_of(const T* row, std::int64_t k, Width width) {
  if constexpr (kUnit<T> == 1)
    return simd::as_ints(simd::load(row + k, width));
  else
    return simd::load_units(row + k * kUnit<T>, width);
}

/// Rows first, first + 1, ... as the left operand of a product: where they lie, or widened in
/// `widened`, (count, width) f32.
template <class T, class Rows>
TileA left_operand(float* widened, const Rows& rows, std::int64_t first, std::int64_t count,
                   std::int64_t width) {
  if constexpr (std::is_same_v<UnitOf<T>, T>)
    return {rows(first), rows.stride * static_cast<std::int64_t>(sizeof(T)), 4};
  for (std::int64_t i = 0; i < count; ++i)
    simd::for_lanes(width, [&](std::int64_t d, auto lanes) {
      simd::store(widened + i * width + d, simd::load(rows(first + i) + d, lanes), lanes);
    });
  return {widened, width * 4, 4};
}

/// Asks for what is read soon: rows lie far apart, so that no processor guesses the next.
inline void prefetch(const void* place) {
  __builtin_prefetch(place, /*for writing*/ 0, /*into the second-level cache*/ 2);
}

/// out[k][lane] = unit k of row `first + lane`, k < num_units; lanes >= count are zero up to a
/// whole vector. (num_units, stride)
template <class T, class Rows>
void pack_lanes(std::int32_t* out, std::int64_t stride, const Rows& rows, std::int64_t first,
                std::int64_t count, std::int64_t num_units) {
  for (std::int64_t lane = 0; lane < round_up(count, simd::kLanes); lane += simd::kLanes)
    simd::for_lanes(num_units, [&](std::int64_t k, auto width) {
      simd::Ints block[simd::kLanes];
      for (std::int64_t i = 0; i < simd::kLanes; ++i)
        prefetch(rows(first + std::min(lane + simd::kLanes + i, count - 1)) + k * kUnit<T>);
      for (std::int64_t i = 0; i < simd::kLanes; ++i)
        block[i] =
            lane + i < count ? load_units_of(rows(first + lane + i), k, width) : simd::Ints{};
      simd::transpose(block);
      for (std::int64_t i = 0; i < simd::count_of(width); ++i)
        simd::store_units(out + (k + i) * stride + lane, block[i]);
    });
}

/// The rows as they lie, but kUnit rows woven into one row of units: out[j][d] holds element d of
/// rows first + kUnit j, ... ; a missing last row is zero. (ceil(count / kUnit), stride); columns
/// from `width` to `stride` are zero.
template <class T, class Rows>
void pack_woven(std::int32_t* out, std::int64_t stride, const Rows& rows, std::int64_t first,
                std::int64_t count, std::int64_t width) {
  constexpr std::int64_t kAhead = 4;
  const auto later = [&](std::int64_t i) { return rows(first + std::min(i + kAhead, count - 1)); };
  for (std::int64_t j = 0; j < div_ceil(count, kUnit<T>); ++j, out += stride) {
    const auto* row = rows(first + j * kUnit<T>);
    if constexpr (kUnit<T> == 1) {
      const auto* ahead = later(j);
      simd::for_lanes(width, [&](std::int64_t d, auto lanes) {
        prefetch(ahead + d);
        simd::store_units(out + d, load_units_of(row, d, lanes));
      });
      std::fill(out + round_up(width, simd::kLanes), out + stride, 0);
    } else {
      static const std::vector<bf16> zeros(static_cast<std::size_t>(simd::kLanes));
      const bool has_second = 2 * j + 1 < count;
      const auto* second = has_second ? rows(first + 2 * j + 1) : nullptr;
      const auto* ahead = later(2 * j);
      const auto* second_ahead = later(2 * j + 1);
      simd::for_lanes(width, [&](std::int64_t d, auto lanes) {
        prefetch(ahead + d);
        prefetch(second_ahead + d);
        simd::store_units(out + d,
                          simd::pair(row + d, has_second ? second + d : zeros.data(), lanes));
      });
      std::fill(out + round_up(width, simd::kLanes), out + stride, 0);
    }
  }
}

/// Memory of one thread, cut into aligned pieces; it stays for the next call.
class TileMemory {
 public:
  explicit TileMemory(std::int64_t floats) {
    const auto wanted = static_cast<std::size_t>(floats + 16 * kMaxPieces);
    if (memory().size() < wanted) memory().resize(wanted);
    next_ = memory().data();
  }
  template <class T = float>
  T* take(std::int64_t words) {
    const auto address = reinterpret_cast<std::uintptr_t>(next_);
    next_ += (64 - address % 64) % 64 / sizeof(float);
    T* piece = reinterpret_cast<T*>(next_);
    next_ += words;
    return piece;
  }

 private:
  static constexpr std::int64_t kMaxPieces = 16;
  static std::vector<float>& memory() {
    static thread_local std::vector<float> memory;
    return memory;
  }
  float* next_;
};

}  // namespace espalier::kernels::host::ESPALIER_SIMD
