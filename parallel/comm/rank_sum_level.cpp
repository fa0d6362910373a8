// What rank_sum.cpp calls, at one SIMD level.
#include <algorithm>
#include <array>
#include <utility>

#include "parallel/comm/rank_sum_level.hpp"

// Last: what follows is compiled for one SIMD level.
#include "base/simd/simd.hpp"

namespace espalier::parallel::ESPALIER_SIMD {
namespace {

/// Elements whose running sum stays in the first-level cache.
constexpr std::int64_t kBlock = 2048;
/// Up to this many sources the running sum stays in registers.
constexpr std::size_t kMaxUnrolled = 8;

template <class T>
const T* elements(const void* source, std::int64_t first) {
  return static_cast<const T*>(source) + first;
}

// The output may be one of the sources: every vector is loaded before its place is written.
template <class T, std::size_t kNum>
void sum_of(std::span<const void* const> sources, T* out, std::int64_t begin, std::int64_t end) {
  const T* source[kNum];
  for (std::size_t s = 0; s < kNum; ++s) source[s] = elements<T>(sources[s], begin);
  simd::for_lanes(end - begin, [&](std::int64_t i, auto lanes) {
    simd::Floats sum = simd::load(source[0] + i, lanes);
#pragma GCC unroll 8
    for (std::size_t s = 1; s < kNum; ++s) sum += simd::load(source[s] + i, lanes);
    simd::store(out + begin + i, sum, lanes);
  });
}

template <class T>
void sum_of_many(std::span<const void* const> sources, T* out, std::int64_t begin,
                 std::int64_t end) {
  alignas(64) float sum[kBlock];
  for (std::int64_t first = begin; first < end; first += kBlock) {
    const std::int64_t count = std::min(kBlock, end - first);
    const T* start = elements<T>(sources.front(), first);
    simd::for_lanes(count, [&](std::int64_t i, auto lanes) {
      simd::store(sum + i, simd::load(start + i, lanes), lanes);
    });
    for (const void* source : sources.subspan(1)) {
      const T* next = elements<T>(source, first);
      simd::for_lanes(count, [&](std::int64_t i, auto lanes) {
        simd::store(sum + i, simd::load(sum + i, lanes) + simd::load(next + i, lanes), lanes);
      });
    }
    simd::for_lanes(count, [&](std::int64_t i, auto lanes) {
      simd::store(out + first + i, simd::load(sum + i, lanes), lanes);
    });
  }
}

/// Each `block` consecutive sources first, then their sums.
template <class T>
void sum_of_blocks(std::span<const void* const> sources, std::size_t block, T* out,
                   std::int64_t begin, std::int64_t end) {
  simd::for_lanes(end - begin, [&](std::int64_t i, auto lanes) {
    const auto load = [&](std::size_t s) {
      return simd::load(elements<T>(sources[s], begin + i), lanes);
    };
    const auto sum_of_block = [&](std::size_t first) {
      simd::Floats sum = load(first);
      for (std::size_t s = first + 1; s < first + block; ++s) sum += load(s);
      return sum;
    };
    simd::Floats total = sum_of_block(0);
    for (std::size_t first = block; first < sources.size(); first += block)
      total += sum_of_block(first);
    simd::store(out + begin + i, total, lanes);
  });
}

template <class T>
void sum_typed(std::span<const void* const> sources, std::size_t block, T* out, std::int64_t begin,
               std::int64_t end) {
  if (block != sources.size()) return sum_of_blocks(sources, block, out, begin, end);
  using Sum = void (*)(std::span<const void* const>, T*, std::int64_t, std::int64_t);
  // One function per number of sources, from 1 to kMaxUnrolled.
  constexpr auto kUnrolled = []<std::size_t... kIndex>(std::index_sequence<kIndex...>) {
    return std::array<Sum, kMaxUnrolled>{&sum_of<T, kIndex + 1>...};
  }
  (std::make_index_sequence<kMaxUnrolled>{});
  const Sum sum = sources.size() <= kMaxUnrolled ? kUnrolled[sources.size() - 1] : &sum_of_many<T>;
  sum(sources, out, begin, end);
}

}  // namespace

void sum_range(std::span<const void* const> sources, std::size_t block, float* out,
               std::int64_t begin, std::int64_t end) {
  sum_typed(sources, block, out, begin, end);
}

void sum_range(std::span<const void* const> sources, std::size_t block, bf16* out,
               std::int64_t begin, std::int64_t end) {
  sum_typed(sources, block, out, begin, end);
}

}  // namespace espalier::parallel::ESPALIER_SIMD
