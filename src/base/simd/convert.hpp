#pragma once
#include <cstdint>

#include "base/dtype.hpp"

namespace espalier::simd {

/// out[i] = in[i] for i below `count`, exactly. On the calling thread, at the level in force. The
/// arrays do not overlap.
void widen(float* out, const bf16* in, std::int64_t count);
/// out[i] = in[i] rounded to nearest even; NaN stays NaN.
void round(bf16* out, const float* in, std::int64_t count);

}  // namespace espalier::simd
