#include "device/widen_transposed.hpp"

#include "base/simd/level.hpp"

namespace espalier::device {

#define ESPALIER_DECLARE(level, ...)                                                   \
  namespace level {                                                                    \
  void widen_transposed(float* out, std::int64_t out_stride, const bf16* in,           \
                        std::int64_t in_stride, std::int64_t rows, std::int64_t cols); \
  }
ESPALIER_SIMD_LEVELS(ESPALIER_DECLARE)
#undef ESPALIER_DECLARE

void widen_transposed(float* out, std::int64_t out_stride, const bf16* in, std::int64_t in_stride,
                      std::int64_t rows, std::int64_t cols) {
  ESPALIER_AT_SIMD_LEVEL(device, widen_transposed(out, out_stride, in, in_stride, rows, cols))
}

}  // namespace espalier::device
