#pragma once
// The operations of simd.hpp with AVX-512 and, where the level has it, its bf16 extension.
#include "base/simd/vector.hpp"

namespace espalier::simd {
inline namespace ESPALIER_SIMD {

inline __mmask16 mask_of(Tail tail) {
  return static_cast<__mmask16>((1u << tail.count) - 1u);
}
inline Floats widen(__m256i halves) {
  return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(halves), 16));
}
/// To nearest even; NaN stays NaN, quiet.
inline __m256i round_to_halves(Floats x) {
#if ESPALIER_SIMD_BF16
  return reinterpret_cast<__m256i>(_mm512_cvtneps_pbh(x));
#else
  const __m512i word = _mm512_castps_si512(x);
  const __m512i odd = _mm512_and_si512(_mm512_srli_epi32(word, 16), _mm512_set1_epi32(1));
  const __m512i rounded = _mm512_add_epi32(word, _mm512_add_epi32(odd, _mm512_set1_epi32(0x7FFF)));
  const __m512i words = _mm512_mask_or_epi32(rounded, _mm512_cmp_ps_mask(x, x, _CMP_UNORD_Q), word,
                                             _mm512_set1_epi32(0x400000));
  return _mm512_cvtepi32_epi16(_mm512_srli_epi32(words, 16));
#endif
}
inline Floats load(const float* p, Full = {}) {
  return _mm512_loadu_ps(p);
}
inline Floats load(const float* p, Tail tail) {
  return _mm512_maskz_loadu_ps(mask_of(tail), p);
}
inline Floats load(const bf16* p, Full = {}) {
  return widen(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)));
}
inline Floats load(const bf16* p, Tail tail) {
  return widen(_mm256_maskz_loadu_epi16(mask_of(tail), p));
}
inline void store(float* p, Floats x, Full = {}) {
  _mm512_storeu_ps(p, x);
}
inline void store(float* p, Floats x, Tail tail) {
  _mm512_mask_storeu_ps(p, mask_of(tail), x);
}
inline void store(bf16* p, Floats x, Full = {}) {
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), round_to_halves(x));
}
inline void store(bf16* p, Floats x, Tail tail) {
  _mm256_mask_storeu_epi16(p, mask_of(tail), round_to_halves(x));
}
/// x with the lanes past the tail replaced by `other`.
inline Floats keep(Floats x, Tail tail, Floats other) {
  return _mm512_mask_mov_ps(other, mask_of(tail), x);
}
inline Floats fma(Floats a, Floats b, Floats c) {
  return _mm512_fmadd_ps(a, b, c);
}
/// max(a, b); b when either is NaN.
inline Floats max(Floats a, Floats b) {
  return _mm512_max_ps(a, b);
}
inline Floats min(Floats a, Floats b) {
  return _mm512_min_ps(a, b);
}
inline Floats sqrt(Floats x) {
  return _mm512_sqrt_ps(x);
}
/// To the nearest integer, ties to even, where |x| is below 2^22.
inline Floats round_to_integer(Floats x) {
  return _mm512_roundscale_ps(x, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
}
/// x * 2^n for an integral n. Levels without this instruction have n from -127 to 128 alone
/// (simd.hpp).
inline Floats scale_by_power(Floats x, Floats n) {
  return _mm512_scalef_ps(x, n);
}
inline bool all_equal(Floats a, Floats b) {
  return _mm512_cmp_ps_mask(a, b, _CMP_EQ_OQ) == 0xFFFF;
}
inline float sum(Floats x) {
  return _mm512_reduce_add_ps(x);
}
inline float maximum(Floats x) {
  return _mm512_reduce_max_ps(x);
}

#if ESPALIER_SIMD_BF16
/// acc + the products of pairs of bf16.
inline Floats dot(Floats acc, Ints a, Ints b, bf16) {
  return _mm512_dpbf16_ps(acc, reinterpret_cast<__m512bh>(a), reinterpret_cast<__m512bh>(b));
}
/// Units of (low, high) rounded to bf16, low in the lower half.
inline Ints pair(Floats low, Floats high) {
  const __m512i l = _mm512_cvtepu16_epi32(round_to_halves(low));
  const __m512i h = _mm512_cvtepu16_epi32(round_to_halves(high));
  return reinterpret_cast<Ints>(_mm512_or_si512(l, _mm512_slli_epi32(h, 16)));
}
/// Units of (low[i], high[i]) from two rows of bf16.
template <class Width>
inline Ints pair(const bf16* low, const bf16* high, Width lanes) {
  __m256i l, h;
  if constexpr (std::is_same_v<Width, Full>) {
    l = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(low));
    h = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(high));
  } else {
    l = _mm256_maskz_loadu_epi16(mask_of(lanes), low);
    h = _mm256_maskz_loadu_epi16(mask_of(lanes), high);
  }
  return reinterpret_cast<Ints>(
      _mm512_or_si512(_mm512_cvtepu16_epi32(l), _mm512_slli_epi32(_mm512_cvtepu16_epi32(h), 16)));
}
#endif
inline Ints load_units(const void* p, Full = {}) {
  return reinterpret_cast<Ints>(_mm512_loadu_si512(p));
}
inline Ints load_units(const void* p, Tail tail) {
  return reinterpret_cast<Ints>(_mm512_maskz_loadu_epi32(mask_of(tail), p));
}
inline void store_units(void* p, Ints x) {
  _mm512_storeu_si512(p, reinterpret_cast<__m512i>(x));
}

/// The lower, the upper halves of a and b, lane by lane in turn.
inline Ints interleave_low(Ints a, Ints b) {
  return __builtin_shufflevector(a, b, 0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23);
}
inline Ints interleave_high(Ints a, Ints b) {
  return __builtin_shufflevector(a, b, 8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15,
                                 31);
}
/// The value after a store to T and a load.
template <class T>
inline Floats rounded_to(Floats x) {
  if constexpr (sizeof(T) == sizeof(float)) return x;
  return widen(round_to_halves(x));
}

}  // namespace ESPALIER_SIMD
}  // namespace espalier::simd
