#pragma once
#include <algorithm>
#include <array>
#include <cstdint>

#include "base/host_loops.hpp"
#include "base/integers.hpp"
#include "device/context.hpp"

// Last: what follows is compiled for one SIMD level.
#include "base/simd/simd.hpp"

namespace espalier::kernels::host::ESPALIER_SIMD {

/// Sums over rows (gradients of norm weights and biases) that do not depend on the number of
/// threads: the rows are cut into slices by their count alone, each slice adds to its own zeroed
/// vectors of `width` floats, one for each of `outs`, and the vectors are added to `outs` in slice
/// order. body(first_row, last_row, partials) is called once per slice; partials are padded to
/// whole vectors.
template <std::size_t N, class Body>
void sum_over_row_slices(device::Context& context, std::int64_t num_rows, std::int64_t width,
                         const std::array<float*, N>& outs, Body&& body) {
  // At least 16 rows, so that adding up the slices stays cheap; at most 128 slices.
  const std::int64_t slice = std::max<std::int64_t>(16, div_ceil(num_rows, 128));
  const std::int64_t num_slices = div_ceil(num_rows, slice);
  const std::int64_t padded = round_up(width, simd::kLanes);
  const std::int64_t stride = static_cast<std::int64_t>(N) * padded;
  float* partials = context.workspace(num_slices * stride);
  host_for_ranges(num_slices, 1, [&](std::int64_t first, std::int64_t last) {
    for (std::int64_t i = first; i < last; ++i) {
      std::array<float*, N> partial;
      for (std::size_t n = 0; n < N; ++n)
        partial[n] = partials + i * stride + static_cast<std::int64_t>(n) * padded;
      std::fill_n(partial[0], stride, 0.0f);
      body(i * slice, std::min(num_rows, (i + 1) * slice), partial);
    }
  });
  for (std::size_t n = 0; n < N; ++n) {
    const float* first = partials + static_cast<std::int64_t>(n) * padded;
    simd::for_lanes(width, [&](std::int64_t c, auto lanes) {
      simd::Floats sum{};
      for (std::int64_t i = 0; i < num_slices; ++i) sum += simd::load(first + i * stride + c);
      simd::store(outs[n] + c, simd::load(outs[n] + c, lanes) + sum, lanes);
    });
  }
}

/// The same for one vector: body(first_row, last_row, partial).
template <class Body>
void sum_over_row_slices(device::Context& context, std::int64_t num_rows, std::int64_t width,
                         float* out, Body&& body) {
  sum_over_row_slices(context, num_rows, width, std::array{out},
                      [&](std::int64_t first, std::int64_t last, std::array<float*, 1> partial) {
                        body(first, last, partial[0]);
                      });
}

}  // namespace espalier::kernels::host::ESPALIER_SIMD
