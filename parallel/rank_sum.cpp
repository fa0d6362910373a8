#include "parallel/rank_sum.hpp"

#include <algorithm>
#include <array>
#include <bit>

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

// No `restrict` on the output: it may be one of the sources. Equal addresses do no harm to a
// vectorised loop, other overlaps do not occur.
template <class Element, class Stored = typename Element::Stored>
void sum_of_two(const Stored* a, const Stored* b, Stored* out, std::int64_t count) {
#pragma omp simd
  for (std::int64_t i = 0; i < count; ++i)
    out[i] = Element::round(Element::widen(a[i]) + Element::widen(b[i]));
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
  host_for_ranges(count, kGrain, [&](std::int64_t begin, std::int64_t end) {
    if (sources.size() == 2) {
      sum_of_two<Element>(static_cast<const Stored*>(sources[0]) + begin,
                          static_cast<const Stored*>(sources[1]) + begin, out + begin, end - begin);
    } else {
      sum_of_many<Element>(sources, out, begin, end);
    }
  });
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
