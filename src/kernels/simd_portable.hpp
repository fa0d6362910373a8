#pragma once
// The operations of simd_avx512.hpp, which documents them, for any machine.
#include <algorithm>
#include <cmath>
#include <cstring>
#include <type_traits>

#include "kernels/simd_vector.hpp"

namespace espalier::kernels::simd {

inline Floats load(const float* p, Tail tail) {
  Floats x{};
  std::memcpy(&x, p, static_cast<std::size_t>(tail.count) * sizeof(float));
  return x;
}
inline Floats load(const float* p, Full = {}) {
  Floats x;
  std::memcpy(&x, p, sizeof x);
  return x;
}
inline Floats load(const bf16* p, Tail tail) {
  float values[kLanes] = {};
  for (std::int64_t i = 0; i < tail.count; ++i) values[i] = static_cast<float>(p[i]);
  return load(values);
}
inline Floats load(const bf16* p, Full = {}) {
  float values[kLanes];
#pragma omp simd
  for (std::int64_t i = 0; i < kLanes; ++i) values[i] = static_cast<float>(p[i]);
  return load(values);
}
inline void store(float* p, Floats x, Tail tail) {
  std::memcpy(p, &x, static_cast<std::size_t>(tail.count) * sizeof(float));
}
inline void store(float* p, Floats x, Full = {}) {
  std::memcpy(p, &x, sizeof x);
}
inline void store(bf16* p, Floats x, Tail tail) {
  for (std::int64_t i = 0; i < tail.count; ++i) p[i] = bf16(x[i]);
}
inline void store(bf16* p, Floats x, Full = {}) {
  float values[kLanes];
  store(values, x);
#pragma omp simd
  for (std::int64_t i = 0; i < kLanes; ++i) p[i] = bf16(values[i]);
}
inline Floats keep(Floats x, Tail tail, Floats other) {
  for (std::int64_t i = tail.count; i < kLanes; ++i) x[i] = other[i];
  return x;
}
inline Floats fma(Floats a, Floats b, Floats c) {
  return a * b + c;
}
inline Floats max(Floats a, Floats b) {
  return a > b ? a : b;
}
inline Floats min(Floats a, Floats b) {
  return a < b ? a : b;
}
inline Floats sqrt(Floats x) {
  for (std::int64_t i = 0; i < kLanes; ++i) x[i] = std::sqrt(x[i]);
  return x;
}
inline Floats round_even(Floats x) {
  // Adding 1.5 * 2^23 leaves no bits for a fraction. From 2^22 on it would take some of the
  // integer.
  const Floats magic = splat(0x1.8p23f);
  const Floats rounded = (x + magic) - magic;
  return x < 0x1p22f && x > -0x1p22f ? rounded : x;
}
inline Floats scale_by_power(Floats x, Floats n) {
  // In two steps, so that neither power leaves the range of normal numbers.
  const Ints whole = __builtin_convertvector(min(max(n, splat(-250.0f)), splat(250.0f)), Ints);
  const Ints half = whole >> 1;
  return x * as_floats((half + 127) << 23) * as_floats((whole - half + 127) << 23);
}
template <class>
inline Floats reciprocal(Floats x) {
  return 1.0f / x;
}
inline bool all_equal(Floats a, Floats b) {
  for (std::int64_t i = 0; i < kLanes; ++i)
    if (!(a[i] == b[i])) return false;
  return true;
}
inline float sum(Floats x) {
  for (std::int64_t width = kLanes / 2; width > 0; width /= 2)
    for (std::int64_t i = 0; i < width; ++i) x[i] += x[i + width];
  return x[0];
}
inline float maximum(Floats x) {
  float result = x[0];
  for (std::int64_t i = 1; i < kLanes; ++i) result = x[i] > result ? x[i] : result;
  return result;
}

inline Floats dot(Floats acc, Ints a, Ints b, float) {
  return as_floats(a) * as_floats(b) + acc;
}
inline Floats dot(Floats acc, Ints a, Ints b, bf16) {
  const Ints upper = Ints{} + static_cast<std::int32_t>(0xFFFF0000u);
  acc = as_floats(a << 16) * as_floats(b << 16) + acc;
  return as_floats(a & upper) * as_floats(b & upper) + acc;
}
inline Ints pair(Floats low, Floats high) {
  Ints x;
  for (std::int64_t i = 0; i < kLanes; ++i)
    x[i] = static_cast<std::int32_t>(std::uint32_t{bf16(low[i]).bits} |
                                     std::uint32_t{bf16(high[i]).bits} << 16);
  return x;
}
template <class Width>
inline Ints pair(const bf16* low, const bf16* high, Width lanes) {
  Ints x{};
  for (std::int64_t i = 0; i < count_of(lanes); ++i)
    x[i] =
        static_cast<std::int32_t>(std::uint32_t{low[i].bits} | std::uint32_t{high[i].bits} << 16);
  return x;
}
inline Ints load_units(const void* p, Full = {}) {
  Ints x;
  std::memcpy(&x, p, sizeof x);
  return x;
}
inline Ints load_units(const void* p, Tail tail) {
  Ints x{};
  std::memcpy(&x, p, static_cast<std::size_t>(tail.count) * 4);
  return x;
}
inline void store_units(void* p, Ints x) {
  std::memcpy(p, &x, sizeof x);
}
template <class T>
inline Floats rounded_to(Floats x) {
  if constexpr (std::is_same_v<T, bf16>) {
    bf16 values[kLanes];
    store(values, x);
    return load(values);
  } else {
    return x;
  }
}

}  // namespace espalier::kernels::simd
