#pragma once
// The operations of avx512.hpp, which documents them, with AVX2 and FMA.
#include "base/simd/vector.hpp"

namespace espalier::simd {
inline namespace ESPALIER_SIMD {

/// All bits of the lanes that the tail touches.
inline __m256i mask_of(Tail tail) {
  const __m256i lane = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
  return _mm256_cmpgt_epi32(_mm256_set1_epi32(static_cast<int>(tail.count)), lane);
}
inline __m128i load_halves(const bf16* p, Full) {
  return _mm_loadu_si128(reinterpret_cast<const __m128i*>(p));
}
inline __m128i load_halves(const bf16* p, Tail tail) {
  alignas(16) bf16 halves[kLanes] = {};
  for (std::int64_t i = 0; i < tail.count; ++i) halves[i] = p[i];
  return _mm_load_si128(reinterpret_cast<const __m128i*>(halves));
}
inline Floats widen(__m128i halves) {
  return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(halves), 16));
}
/// To nearest even; NaN stays NaN, quiet. In the upper halves of the lanes.
inline __m256i rounded_words(Floats x) {
  const __m256i word = _mm256_castps_si256(x);
  const __m256i odd = _mm256_and_si256(_mm256_srli_epi32(word, 16), _mm256_set1_epi32(1));
  const __m256i rounded = _mm256_add_epi32(word, _mm256_add_epi32(odd, _mm256_set1_epi32(0x7FFF)));
  const __m256i quiet = _mm256_or_si256(word, _mm256_set1_epi32(0x400000));
  const __m256 is_nan = _mm256_cmp_ps(x, x, _CMP_UNORD_Q);
  return _mm256_blendv_epi8(rounded, quiet, _mm256_castps_si256(is_nan));
}
inline __m128i round_to_halves(Floats x) {
  const __m256i halves = _mm256_srli_epi32(rounded_words(x), 16);
  return _mm_packus_epi32(_mm256_castsi256_si128(halves), _mm256_extracti128_si256(halves, 1));
}
inline Floats load(const float* p, Full = {}) {
  return _mm256_loadu_ps(p);
}
inline Floats load(const float* p, Tail tail) {
  return _mm256_maskload_ps(p, mask_of(tail));
}
template <class Width = Full>
inline Floats load(const bf16* p, Width lanes = {}) {
  return widen(load_halves(p, lanes));
}
inline void store(float* p, Floats x, Full = {}) {
  _mm256_storeu_ps(p, x);
}
inline void store(float* p, Floats x, Tail tail) {
  _mm256_maskstore_ps(p, mask_of(tail), x);
}
inline void store(bf16* p, Floats x, Full = {}) {
  _mm_storeu_si128(reinterpret_cast<__m128i*>(p), round_to_halves(x));
}
inline void store(bf16* p, Floats x, Tail tail) {
  alignas(16) bf16 halves[kLanes];
  _mm_store_si128(reinterpret_cast<__m128i*>(halves), round_to_halves(x));
  for (std::int64_t i = 0; i < tail.count; ++i) p[i] = halves[i];
}
inline Floats keep(Floats x, Tail tail, Floats other) {
  return _mm256_blendv_ps(other, x, _mm256_castsi256_ps(mask_of(tail)));
}
inline Floats fma(Floats a, Floats b, Floats c) {
  return _mm256_fmadd_ps(a, b, c);
}
inline Floats max(Floats a, Floats b) {
  return _mm256_max_ps(a, b);
}
inline Floats min(Floats a, Floats b) {
  return _mm256_min_ps(a, b);
}
inline Floats sqrt(Floats x) {
  return _mm256_sqrt_ps(x);
}
inline Floats round_to_integer(Floats x) {
  return _mm256_round_ps(x, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
}
inline Ints whole(Floats n) {
  return reinterpret_cast<Ints>(_mm256_cvtps_epi32(n));
}
inline bool all_equal(Floats a, Floats b) {
  return _mm256_movemask_ps(_mm256_cmp_ps(a, b, _CMP_EQ_OQ)) == 0xFF;
}
inline float sum(Floats x) {
  __m128 half = _mm_add_ps(_mm256_castps256_ps128(x), _mm256_extractf128_ps(x, 1));
  half = _mm_add_ps(half, _mm_movehl_ps(half, half));
  return _mm_cvtss_f32(_mm_add_ss(half, _mm_movehdup_ps(half)));
}
inline float maximum(Floats x) {
  __m128 half = _mm_max_ps(_mm256_castps256_ps128(x), _mm256_extractf128_ps(x, 1));
  half = _mm_max_ps(half, _mm_movehl_ps(half, half));
  return _mm_cvtss_f32(_mm_max_ss(half, _mm_movehdup_ps(half)));
}
inline Ints load_units(const void* p, Full = {}) {
  return reinterpret_cast<Ints>(_mm256_loadu_si256(static_cast<const __m256i*>(p)));
}
inline Ints load_units(const void* p, Tail tail) {
  return reinterpret_cast<Ints>(_mm256_maskload_epi32(static_cast<const int*>(p), mask_of(tail)));
}
inline void store_units(void* p, Ints x) {
  _mm256_storeu_si256(static_cast<__m256i*>(p), reinterpret_cast<__m256i>(x));
}
inline Ints interleave_low(Ints a, Ints b) {
  return __builtin_shufflevector(a, b, 0, 8, 1, 9, 2, 10, 3, 11);
}
inline Ints interleave_high(Ints a, Ints b) {
  return __builtin_shufflevector(a, b, 4, 12, 5, 13, 6, 14, 7, 15);
}
template <class T>
inline Floats rounded_to(Floats x) {
  if constexpr (sizeof(T) == sizeof(float)) return x;
  const __m256i upper = _mm256_set1_epi32(static_cast<int>(0xFFFF0000u));
  return _mm256_castsi256_ps(_mm256_and_si256(rounded_words(x), upper));
}

}  // namespace ESPALIER_SIMD
}  // namespace espalier::simd
