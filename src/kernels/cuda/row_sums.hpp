#pragma once
// Sums over rows, for the gradients of norm weights: rows are cut into slices by their count alone,
// a block sums one slice into its row of partials, and the slices are added up in a fixed order.
#include <algorithm>
#include <cstdint>

#include "base/integers.hpp"
#include "kernels/cuda/launch_shape.hpp"

namespace espalier::kernels::ESPALIER_GPU {

/// Enough for every multiprocessor of any device, few enough that the partials cost little.
constexpr std::int64_t kMaxSlices = 512;
/// Vectors of each slice that the workspace has room for: LayerNorm's gradients are two.
constexpr std::int64_t kPartialVectors = 2;

struct RowSlices {
  std::int64_t num_rows;
  std::int64_t rows_per_slice;
  std::int64_t num_slices;

  explicit RowSlices(std::int64_t rows, std::int64_t max_slices = kMaxSlices)
      : num_rows(rows),
        rows_per_slice(std::max<std::int64_t>(4, div_ceil(rows, max_slices))),
        num_slices(div_ceil(rows, rows_per_slice)) {}
};

/// out[c] += partials[0][c] + partials[1][c] + ... for c < width; partials (num_slices, stride).
void add_up_slices(const Queue& queue, float* out, const float* partials, std::int64_t num_slices,
                   std::int64_t stride, std::int64_t width);

}  // namespace espalier::kernels::ESPALIER_GPU
