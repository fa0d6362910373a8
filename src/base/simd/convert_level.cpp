// What convert.cpp calls, at one SIMD level.
#include "base/simd/simd.hpp"

namespace espalier::simd::ESPALIER_SIMD {

void widen_all(float* out, const bf16* in, std::int64_t count);
void round_all(bf16* out, const float* in, std::int64_t count);

void widen_all(float* out, const bf16* in, std::int64_t count) {
  for_lanes(count, [&](std::int64_t i, auto lanes) { store(out + i, load(in + i, lanes), lanes); });
}

void round_all(bf16* out, const float* in, std::int64_t count) {
  for_lanes(count, [&](std::int64_t i, auto lanes) { store(out + i, load(in + i, lanes), lanes); });
}

}  // namespace espalier::simd::ESPALIER_SIMD
