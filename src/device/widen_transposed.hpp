#pragma once
#include <cstdint>

#include "base/dtype.hpp"

namespace espalier::device {

/// Rows of a transposed copy are written in whole groups of so many floats.
constexpr std::int64_t kTransposedGroup = 16;

/// out[c * out_stride + r] = in[r * in_stride + c], exactly, for r below `rows` and c below `cols`;
/// what is left of the last group of each row of `out` becomes 0. On the calling thread, at the
/// SIMD level in force.
void widen_transposed(float* out, std::int64_t out_stride, const bf16* in, std::int64_t in_stride,
                      std::int64_t rows, std::int64_t cols);

}  // namespace espalier::device
