#pragma once
// The vector type of the host operators: 16 floats in the compiler's own vector extension, so that
// + - * / and comparisons need no wrapper and any machine can compile them.
#include <bit>
#include <cstdint>

#include "base/dtype.hpp"

#if defined(__AVX512F__) && defined(__AVX512BW__) && defined(__AVX512VL__) && \
    defined(__AVX512DQ__) && defined(__AVX512BF16__)
#define ESPALIER_AVX512 1
#else
#define ESPALIER_AVX512 0
#endif

namespace espalier::kernels::simd {

constexpr std::int64_t kLanes = 16;
using Floats = float __attribute__((vector_size(64)));
using Ints = std::int32_t __attribute__((vector_size(64)));

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
  return Floats{} + value;
}
inline Floats as_floats(Ints x) {
  return std::bit_cast<Floats>(x);
}
inline Ints as_ints(Floats x) {
  return std::bit_cast<Ints>(x);
}

}  // namespace espalier::kernels::simd
