#include "kernels/moe/dispatch.hpp"

#include <algorithm>
#include <cstring>
#include <utility>

#include "base/host_loops.hpp"
#include "base/integers.hpp"
#include "kernels/backends.hpp"
#include "kernels/dispatch.hpp"
#include "kernels/moe/router_shapes.hpp"

// Last: what follows is compiled for one SIMD level.
#include "base/simd/simd.hpp"

namespace espalier::kernels::host::ESPALIER_SIMD {

void sort_by_expert(device::Context&, const SortByExpert& a) {
  check_shapes(a);
  auto* counts = a.counts.as<std::int32_t>();
  const std::int64_t num_experts = a.counts.cols;
  const std::int64_t k = a.experts.cols;
  std::fill_n(counts, num_experts, 0);
  const auto count = [&](std::int32_t e) -> std::int32_t& {
    ESPALIER_ASSERT(e >= 0 && e < num_experts, "expert {} of {}", e, num_experts);
    return counts[e];
  };
  for (std::int64_t t = 0; t < a.experts.rows; ++t) {
    const auto* experts = a.experts.as<std::int32_t>(t);
    for (std::int64_t j = 0; j < k; ++j) ++count(experts[j]);
  }
  // Counts become the first positions, which become the last when all pairs have been placed.
  std::int32_t first = 0;
  for (std::int64_t e = 0; e < num_experts; ++e) first += std::exchange(counts[e], first);
  auto* order = a.order.as<std::int32_t>();
  for (std::int64_t t = 0; t < a.experts.rows; ++t) {
    const auto* experts = a.experts.as<std::int32_t>(t);
    auto* place = a.place.as<std::int32_t>(t);
    for (std::int64_t j = 0; j < k; ++j) {
      place[j] = counts[experts[j]]++;
      order[place[j]] = narrow<std::int32_t>(t * k + j);
    }
  }
  for (std::int64_t e = num_experts - 1; e > 0; --e) counts[e] -= counts[e - 1];
}

void count_choices(device::Context&, const CountChoices& a) {
  check_shapes(a);
  for (std::int64_t b = 0; b < a.counts.rows; ++b)
    std::fill_n(a.counts.as<float>(b), a.counts.cols, 0.0f);
  // Whole numbers below 2^24 are exact, in any order.
  for (std::int64_t t = 0; t < a.experts.rows; ++t) {
    const auto* experts = a.experts.as<std::int32_t>(t);
    float* counts = a.counts.as<float>(counts_row(a.counts, a.place, t));
    for (std::int64_t j = 0; j < a.experts.cols; ++j) counts[experts[j]] += 1.0f;
  }
}

void gather_rows(device::Context&, const GatherRows& a) {
  check_shapes(a);
  const auto* index = a.index.as<std::int32_t>();
  const auto element = static_cast<std::int64_t>(size_of(a.in.dtype));
  const auto row_bytes = static_cast<std::size_t>(a.in.cols * element);
  const auto* in = static_cast<const char*>(a.in.data);
  auto* out = static_cast<char*>(a.out.data);
  host_for_ranges(a.out.rows, 1, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t r = begin; r < end; ++r)
      std::memcpy(out + r * a.out.stride * element,
                  in + index[r] / a.divisor * a.in.stride * element, row_bytes);
  });
}

void combine_rows(device::Context&, const CombineRows& a) {
  check_shapes(a);
  const std::int64_t k = a.place.cols;
  dispatch(a.out.dtype, [&]<class T>(T) {
    host_for_ranges(a.out.rows, 1, [&](std::int64_t begin, std::int64_t end) {
      for (std::int64_t t = begin; t < end; ++t) {
        const auto* place = a.place.as<std::int32_t>(t);
        const float* weights = a.weights.exists() ? a.weights.as<float>(t) : nullptr;
        const T* add = a.add.exists() ? a.add.as<T>(t) : nullptr;
        const T* rows[kMaxExpertsPerToken];
        for (std::int64_t j = 0; j < k; ++j) rows[j] = a.rows.as<T>(place[j]);
        T* out = a.out.as<T>(t);
        simd::for_lanes(a.out.cols, [&](std::int64_t c, auto lanes) {
          simd::Floats sum{};
          for (std::int64_t j = 0; j < k; ++j) {
            const simd::Floats row = simd::load(rows[j] + c, lanes);
            sum = weights != nullptr ? simd::fma(simd::splat(weights[j]), row, sum) : sum + row;
          }
          if (add != nullptr) sum += simd::load(add + c, lanes);
          simd::store(out + c, sum, lanes);
        });
      }
    });
  });
}

}  // namespace espalier::kernels::host::ESPALIER_SIMD
