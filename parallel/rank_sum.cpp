#include "parallel/rank_sum.hpp"

#include <algorithm>
#include <array>
#include <bit>
#include <utility>

#include "base/error.hpp"
#include "base/host_loops.hpp"

namespace espalier::parallel {
namespace {

/// Elements whose running sum stays in the first-level cache.
constexpr std::int64_t kBlock = 2048;
/// Below this a second thread costs more than it brings.
constexpr std::int64_t kGrain = 16384;

/// How an element lies in memory and is widened and rounded. bf16 is handled as its bits, without
/// a branch for NaN: written so, GCC turns the loops into AVX-512 code.
struct F32 {
  using Stored = float;
  static float widen(float value) { return value; }
  static float round(float value) { return value; }
};
struct Bf16 {
  using Stored = std::uint16_t;
  static float widen(std::uint16_t bits) {
    return std::bit_cast<float>(static_cast<std::uint32_t>(bits) << 16);
  }
  /// As espalier::bf16: to nearest even; NaN stays NaN.
  static std::uint16_t round(float value) {
    const auto word = std::bit_cast<std::uint32_t>(value);
    const std::uint32_t rounded = (word + 0x7FFFU + ((word >> 16) & 1U)) >> 16;
    const std::uint32_t quiet = (word >> 16) | 0x40U;
    const std::uint32_t is_nan = (word & 0x7FFFFFFFU) > 0x7F800000U ? ~0U : 0U;
    return static_cast<std::uint16_t>((quiet & is_nan) | (rounded & ~is_nan));
  }
};

/// Up to this many sources the running sum stays in registers.
constexpr std::size_t kMaxUnrolled = 8;

// No `restrict` on the output: it may be one of the sources. Equal addresses do no harm to a
// vectorised loop, other overlaps do not occur.
template <class Element, std::size_t kNum, class Stored = typename Element::Stored>
void sum_of(std::span<const void* const> sources, Stored* out, std::int64_t begin,
            std::int64_t end) {
  std::array<const Stored*, kNum> source;
  for (std::size_t s = 0; s < kNum; ++s) source[s] = static_cast<const Stored*>(sources[s]);
#pragma omp simd
  for (std::int64_t i = begin; i < end; ++i) {
    float sum = Element::widen(source[0][i]);
#pragma GCC unroll 8
    for (std::size_t s = 1; s < kNum; ++s) sum += Element::widen(source[s][i]);
    out[i] = Element::round(sum);
  }
}

template <class Element, class Stored = typename Element::Stored>
void sum_of_many(std::span<const void* const> sources, Stored* out, std::int64_t begin,
                 std::int64_t end) {
  std::array<float, kBlock> block;
  float* const sum = block.data();
  for (std::int64_t first = begin; first < end; first += kBlock) {
    const std::int64_t count = std::min(kBlock, end - first);
    const Stored* start = static_cast<const Stored*>(sources.front()) + first;
#pragma omp simd
    for (std::int64_t i = 0; i < count; ++i) sum[i] = Element::widen(start[i]);
    for (const void* source : sources.subspan(1)) {
      const Stored* next = static_cast<const Stored*>(source) + first;
#pragma omp simd
      for (std::int64_t i = 0; i < count; ++i) sum[i] += Element::widen(next[i]);
    }
#pragma omp simd
    for (std::int64_t i = 0; i < count; ++i) out[first + i] = Element::round(sum[i]);
  }
}

template <class Element, class Stored = typename Element::Stored>
void sum_typed(std::span<const void* const> sources, Stored* out, std::int64_t count) {
  using Sum = void (*)(std::span<const void* const>, Stored*, std::int64_t, std::int64_t);
  // One function per number of sources, from 1 to kMaxUnrolled.
  constexpr auto kUnrolled = []<std::size_t... kIndex>(std::index_sequence<kIndex...>) {
    return std::array<Sum, kMaxUnrolled>{&sum_of<Element, kIndex + 1>...};
  }
  (std::make_index_sequence<kMaxUnrolled>{});
  const Sum sum =
      sources.size() <= kMaxUnrolled ? kUnrolled[sources.size() - 1] : &sum_of_many<Element>;
  host_for_ranges(count, kGrain,
                  [&](std::int64_t begin, std::int64_t end) { sum(sources, out, begin, end); });
}

}  // namespace

void sum_in_rank_order(DType dtype, std::span<const void* const> sources, void* out,
                       std::int64_t count) {
  ESPALIER_ASSERT(!sources.empty(), "a sum over no rank");
  switch (dtype) {
    case DType::f32:
      return sum_typed<F32>(sources, static_cast<float*>(out), count);
    case DType::bf16:
      return sum_typed<Bf16>(sources, static_cast<std::uint16_t*>(out), count);
    default:
      fail(ExitStatus::internal, "sum over ranks of {}", name_of(dtype));
  }
}

}  // namespace espalier::parallel
