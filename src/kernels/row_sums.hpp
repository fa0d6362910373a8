#pragma once
#include <algorithm>
#include <cstdint>

#include "base/host_loops.hpp"
#include "base/integers.hpp"
#include "device/context.hpp"
#include "kernels/simd.hpp"

namespace espalier::kernels {

/// Sums over rows (gradients of norm weights) that do not depend on the number of threads: the rows
/// are cut into slices by their count alone, each slice adds to its own zeroed vector of `width`
/// floats, and the vectors are added to `out` in slice order.
/// body(first_row, last_row, partial) is called once per slice.
template <class Body>
void sum_over_row_slices(device::Context& context, std::int64_t num_rows, std::int64_t width,
                         float* out, Body&& body) {
  // At least 16 rows, so that adding up the slices stays cheap; at most 128 slices.
  const std::int64_t slice = std::max<std::int64_t>(16, div_ceil(num_rows, 128));
  const std::int64_t num_slices = div_ceil(num_rows, slice);
  const std::int64_t stride = round_up(width, simd::kLanes);
  float* partials = context.workspace(num_slices * stride);
  host_for_ranges(num_slices, 1, [&](std::int64_t first, std::int64_t last) {
    for (std::int64_t i = first; i < last; ++i) {
      float* partial = partials + i * stride;
      std::fill_n(partial, stride, 0.0f);
      body(i * slice, std::min(num_rows, (i + 1) * slice), partial);
    }
  });
  simd::for_lanes(width, [&](std::int64_t c, auto lanes) {
    simd::Floats sum{};
    for (std::int64_t i = 0; i < num_slices; ++i) sum += simd::load(partials + i * stride + c);
    simd::store(out + c, simd::load(out + c, lanes) + sum, lanes);
  });
}

}  // namespace espalier::kernels
