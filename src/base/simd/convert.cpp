#include "base/simd/convert.hpp"

#include "base/simd/level.hpp"

namespace espalier::simd {

#define ESPALIER_DECLARE(level, ...)                              \
  namespace level {                                               \
  void widen_all(float* out, const bf16* in, std::int64_t count); \
  void round_all(bf16* out, const float* in, std::int64_t count); \
  }
ESPALIER_SIMD_LEVELS(ESPALIER_DECLARE)
#undef ESPALIER_DECLARE

void widen(float* out, const bf16* in, std::int64_t count) {
  ESPALIER_AT_SIMD_LEVEL(simd, widen_all(out, in, count))
}

void round(bf16* out, const float* in, std::int64_t count) {
  ESPALIER_AT_SIMD_LEVEL(simd, round_all(out, in, count))
}

}  // namespace espalier::simd
