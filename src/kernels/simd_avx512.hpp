#pragma once
// The operations of simd.hpp with AVX-512 and its bf16 extension. All intrinsics of the program are
// in this file.
#include <type_traits>

#include "kernels/simd_vector.hpp"

// GCC 12 takes the undefined pass-through operands of unmasked intrinsics for mistakes (bug
// 105593).
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#pragma GCC diagnostic ignored "-Wuninitialized"
#include <immintrin.h>
#pragma GCC diagnostic pop

namespace espalier::kernels::simd {

inline __mmask16 mask_of(Tail tail) {
  return static_cast<__mmask16>((1u << tail.count) - 1u);
}
inline Floats widen(__m256i halves) {
  return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(halves), 16));
}
inline __m256i round_to_halves(Floats x) {
  return reinterpret_cast<__m256i>(_mm512_cvtneps_pbh(x));
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
inline Floats round_even(Floats x) {
  return _mm512_roundscale_ps(x, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
}
/// x * 2^n for an integral n, with gradual underflow.
inline Floats scale_by_power(Floats x, Floats n) {
  return _mm512_scalef_ps(x, n);
}
/// 1 / x; for bf16 only its first 14 bits, which is 6 more than a bf16 keeps.
template <class T>
inline Floats reciprocal(Floats x) {
  if constexpr (std::is_same_v<T, bf16>)
    return _mm512_rcp14_ps(x);
  else
    return 1.0f / x;
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

/// acc + the products of 32-bit units: one float each, or a pair of bf16 each.
inline Floats dot(Floats acc, Ints a, Ints b, float) {
  return _mm512_fmadd_ps(as_floats(a), as_floats(b), acc);
}
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
inline Ints load_units(const void* p, Full = {}) {
  return reinterpret_cast<Ints>(_mm512_loadu_si512(p));
}
inline Ints load_units(const void* p, Tail tail) {
  return reinterpret_cast<Ints>(_mm512_maskz_loadu_epi32(mask_of(tail), p));
}
inline void store_units(void* p, Ints x) {
  _mm512_storeu_si512(p, reinterpret_cast<__m512i>(x));
}

/// The value after a store to T and a load.
template <class T>
inline Floats rounded_to(Floats x) {
  if constexpr (std::is_same_v<T, bf16>)
    return widen(round_to_halves(x));
  else
    return x;
}

}  // namespace espalier::kernels::simd
