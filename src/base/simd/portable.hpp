#pragma once
// The operations of avx512.hpp, which documents them, for any machine: four lanes are a register of
// SSE and of NEON, and the compiler has an instruction for each of these expressions.
#include <cmath>
#include <cstring>

#include "base/simd/vector.hpp"

namespace espalier::simd {
inline namespace ESPALIER_SIMD {

using Halves = std::uint16_t __attribute__((vector_size(8)));

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
inline Floats widen(Halves halves) {
  // A zero before each: one instruction, where GCC takes a conversion of half a register apart.
  return reinterpret_cast<Floats>(
      __builtin_shufflevector(Halves{}, halves, 0, 4, 1, 5, 2, 6, 3, 7));
}
inline Floats load(const bf16* p, Tail tail) {
  Halves halves{};
  std::memcpy(&halves, p, static_cast<std::size_t>(tail.count) * sizeof(bf16));
  return widen(halves);
}
inline Floats load(const bf16* p, Full = {}) {
  Halves halves;
  std::memcpy(&halves, p, sizeof halves);
  return widen(halves);
}
inline void store(float* p, Floats x, Tail tail) {
  std::memcpy(p, &x, static_cast<std::size_t>(tail.count) * sizeof(float));
}
inline void store(float* p, Floats x, Full = {}) {
  std::memcpy(p, &x, sizeof x);
}
/// To nearest even; NaN stays NaN, quiet. In the upper halves of the lanes.
inline Ints rounded_words(Floats x) {
  const Ints word = as_ints(x);
  const Ints rounded = word + ((word >> 16) & 1) + 0x7FFF;
  return x == x ? rounded : word | 0x400000;
}
inline Halves round_to_halves(Floats x) {
  return __builtin_convertvector(rounded_words(x) >> 16, Halves);
}
inline void store(bf16* p, Floats x, Tail tail) {
  const Halves halves = round_to_halves(x);
  std::memcpy(static_cast<void*>(p), &halves, static_cast<std::size_t>(tail.count) * sizeof(bf16));
}
inline void store(bf16* p, Floats x, Full = {}) {
  const Halves halves = round_to_halves(x);
  std::memcpy(static_cast<void*>(p), &halves, sizeof halves);
}
inline Floats keep(Floats x, Tail tail, Floats other) {
  return Ints{0, 1, 2, 3} < static_cast<std::int32_t>(tail.count) ? x : other;
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
inline Floats round_to_integer(Floats x) {
  // Adding 1.5 * 2^23 leaves no bits for a fraction.
  const Floats magic = splat(0x1.8p23f);
  return (x + magic) - magic;
}
/// An integral n from -2^31 to 2^31; anything for others.
inline Ints whole(Floats n) {
  return __builtin_convertvector(n, Ints);
}
inline bool all_equal(Floats a, Floats b) {
  const Ints equal = a == b;
  return (equal[0] & equal[1] & equal[2] & equal[3]) != 0;
}
inline float sum(Floats x) {
  return (x[0] + x[2]) + (x[1] + x[3]);
}
inline float maximum(Floats x) {
  float result = x[0];
  for (std::int64_t i = 1; i < kLanes; ++i) result = x[i] > result ? x[i] : result;
  return result;
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
inline Ints interleave_low(Ints a, Ints b) {
  return __builtin_shufflevector(a, b, 0, 4, 1, 5);
}
inline Ints interleave_high(Ints a, Ints b) {
  return __builtin_shufflevector(a, b, 2, 6, 3, 7);
}
template <class T>
inline Floats rounded_to(Floats x) {
  if constexpr (sizeof(T) == sizeof(float)) return x;
  return as_floats(rounded_words(x) & static_cast<std::int32_t>(0xFFFF0000u));
}

}  // namespace ESPALIER_SIMD
}  // namespace espalier::simd
