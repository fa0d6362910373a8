// What widen_transposed.cpp calls, at one SIMD level.
#include "device/widen_transposed.hpp"

// Last: what follows is compiled for one SIMD level.
#include "base/simd/simd.hpp"

namespace espalier::device::ESPALIER_SIMD {

void widen_transposed(float* out, std::int64_t out_stride, const bf16* in, std::int64_t in_stride,
                      std::int64_t rows, std::int64_t cols);

void widen_transposed(float* out, std::int64_t out_stride, const bf16* in, std::int64_t in_stride,
                      std::int64_t rows, std::int64_t cols) {
  using namespace simd;
  static_assert(kTransposedGroup % kLanes == 0);
  // A group of `out` is a line of the cache: all of it is written before the next row is.
  for (std::int64_t group = 0; group < rows; group += kTransposedGroup)
    for_lanes(cols, [&](std::int64_t c, auto lanes) {
      for (std::int64_t r = group; r < group + kTransposedGroup; r += kLanes) {
        Ints square[kLanes];
        for (std::int64_t i = 0; i < kLanes; ++i)
          square[i] = r + i < rows ? as_ints(load(in + (r + i) * in_stride + c, lanes)) : Ints{};
        transpose(square);
        for (std::int64_t i = 0; i < count_of(lanes); ++i)
          store(out + (c + i) * out_stride + r, as_floats(square[i]));
      }
    });
}

}  // namespace espalier::device::ESPALIER_SIMD
