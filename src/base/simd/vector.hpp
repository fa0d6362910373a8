#pragma once
// The vector type of the host operators, in the compiler's own vector extension, so that + - * /
// and comparisons need no wrapper: 16 floats with AVX-512, 8 with AVX2, 4 elsewhere.
#include <cstdint>

#include "base/dtype.hpp"

// Last: what follows is compiled for one SIMD level.
#include "base/simd/target.hpp"

namespace espalier::simd {
inline namespace ESPALIER_SIMD {

#if ESPALIER_SIMD_AVX512
#define ESPALIER_SIMD_BYTES 64
#elif ESPALIER_SIMD_AVX2
#define ESPALIER_SIMD_BYTES 32
#else
#define ESPALIER_SIMD_BYTES 16
#endif

constexpr std::int64_t kLanes = ESPALIER_SIMD_BYTES / 4;
/// Whether the level multiplies pairs of bf16 (`dot` with a bf16).
constexpr bool kHasBf16Products = ESPALIER_SIMD_BF16;
/// No level has more lanes. Buffers that are shared between levels are padded to it, so that what a
/// run needs does not depend on the processor.
constexpr std::int64_t kMaxLanes = 16;
using Floats = float __attribute__((vector_size(ESPALIER_SIMD_BYTES)));
using Ints = std::int32_t __attribute__((vector_size(ESPALIER_SIMD_BYTES)));

/// How many lanes an access touches: all of them, or the first `count` (the others read as 0).
struct Full {};
struct Tail {
  std::int64_t count;
};
constexpr std::int64_t count_of(Full) {
  return kLanes;
}
constexpr std::int64_t count_of(Tail tail) {
  return tail.count;
}

inline Floats splat(float value) {
  return value - Floats{};  // not a sum, which would make 0 of -0 and must therefore be computed
}
// Not std::bit_cast: a template of the standard library would be compiled for the baseline, which
// passes vectors another way.
inline Floats as_floats(Ints x) {
  return reinterpret_cast<Floats>(x);
}
inline Ints as_ints(Floats x) {
  return reinterpret_cast<Ints>(x);
}

}  // namespace ESPALIER_SIMD
}  // namespace espalier::simd
