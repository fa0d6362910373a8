#include "parallel/rank_sum.hpp"

#include <algorithm>
#include <array>

#include "base/error.hpp"
#include "base/host_loops.hpp"

namespace espalier::parallel {
namespace {

/// Elements whose running sum stays in the first-level cache.
constexpr std::int64_t kBlock = 2048;
/// Below this a second thread costs more than it brings.
constexpr std::int64_t kGrain = 16384;

// No `restrict` on the output: it may be one of the sources. Equal addresses do no harm to a
// vectorised loop, other overlaps do not occur.
template <class T>
void sum_of_two(const T* a, const T* b, T* out, std::int64_t count) {
#pragma omp simd
  for (std::int64_t i = 0; i < count; ++i)
    out[i] = static_cast<T>(static_cast<float>(a[i]) + static_cast<float>(b[i]));
}

template <class T>
void sum_of_many(std::span<const void* const> sources, T* out, std::int64_t begin,
                 std::int64_t end) {
  std::array<float, kBlock> sum;
  for (std::int64_t first = begin; first < end; first += kBlock) {
    const std::int64_t count = std::min(kBlock, end - first);
    const T* start = static_cast<const T*>(sources.front()) + first;
    for (std::int64_t i = 0; i < count; ++i)
      sum[static_cast<std::size_t>(i)] = static_cast<float>(start[i]);
    for (const void* source : sources.subspan(1)) {
      const T* next = static_cast<const T*>(source) + first;
      for (std::int64_t i = 0; i < count; ++i)
        sum[static_cast<std::size_t>(i)] += static_cast<float>(next[i]);
    }
    for (std::int64_t i = 0; i < count; ++i)
      out[first + i] = static_cast<T>(sum[static_cast<std::size_t>(i)]);
  }
}

template <class T>
void sum_typed(std::span<const void* const> sources, T* out, std::int64_t count) {
  host_for_ranges(count, kGrain, [&](std::int64_t begin, std::int64_t end) {
    if (sources.size() == 2) {
      sum_of_two(static_cast<const T*>(sources[0]) + begin,
                 static_cast<const T*>(sources[1]) + begin, out + begin, end - begin);
    } else {
      sum_of_many(sources, out, begin, end);
    }
  });
}

}  // namespace

void sum_in_rank_order(DType dtype, std::span<const void* const> sources, void* out,
                       std::int64_t count) {
  ESPALIER_ASSERT(!sources.empty(), "a sum over no rank");
  switch (dtype) {
    case DType::f32:
      return sum_typed(sources, static_cast<float*>(out), count);
    case DType::bf16:
      return sum_typed(sources, static_cast<bf16*>(out), count);
    default:
      fail(ExitStatus::internal, "sum over ranks of {}", name_of(dtype));
  }
}

}  // namespace espalier::parallel
