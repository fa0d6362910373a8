#pragma once
// Vectors of 16 floats for the host operators. The type is the compiler's own vector extension, so
// that + - * / and comparisons need no wrapper and any machine can compile them; the few operations
// that have a better instruction on AVX-512 are here, and nowhere else.
#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <limits>

#include "base/dtype.hpp"

#if defined(__AVX512F__) && defined(__AVX512BW__) && defined(__AVX512VL__) && \
    defined(__AVX512DQ__) && defined(__AVX512BF16__)
#define ESPALIER_AVX512 1
// GCC 12 takes the undefined pass-through operands of unmasked intrinsics for mistakes (bug
// 105593).
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#pragma GCC diagnostic ignored "-Wuninitialized"
#include <immintrin.h>
#pragma GCC diagnostic pop
#else
#define ESPALIER_AVX512 0
// Vectors wider than the machine's are passed in memory; every function here is inlined.
#pragma GCC diagnostic ignored "-Wpsabi"
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

inline Floats splat(float value) {
  return Floats{} + value;
}
inline Floats as_floats(Ints x) {
  return std::bit_cast<Floats>(x);
}
inline Ints as_ints(Floats x) {
  return std::bit_cast<Ints>(x);
}

#if ESPALIER_AVX512

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
inline Ints load_units(const void* p) {
  return reinterpret_cast<Ints>(_mm512_loadu_si512(p));
}
inline void store_units(void* p, Ints x) {
  _mm512_storeu_si512(p, reinterpret_cast<__m512i>(x));
}

#else

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
  // Adding 1.5 * 2^23 leaves no bits for a fraction; exact for |x| < 2^22, all that exp needs.
  const Floats magic = splat(0x1.8p23f);
  return (x + magic) - magic;
}
inline Floats scale_by_power(Floats x, Floats n) {
  // In two steps, so that neither power leaves the range of normal numbers.
  const Ints whole = __builtin_convertvector(n, Ints);
  const Ints half = whole >> 1;
  return x * as_floats((half + 127) << 23) * as_floats((whole - half + 127) << 23);
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

#endif

inline Floats keep(Floats x, Full, Floats) {
  return x;
}

/// The value after a store to T and a load.
template <class T>
inline Floats rounded_to(Floats x) {
  if constexpr (std::is_same_v<T, bf16>) {
#if ESPALIER_AVX512
    return widen(round_to_halves(x));
#else
    bf16 values[kLanes];
    store(values, x);
    return load(values);
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
    inline std::int64_t count_of(Full) {
      return kLanes;
    }
    inline std::int64_t count_of(Tail tail) {
      return tail.count;
    }
    template <class Width>
    inline Ints pair(const bf16* low, const bf16* high, Width lanes) {
      Ints x{};
      for (std::int64_t i = 0; i < count_of(lanes); ++i)
        x[i] = static_cast<std::int32_t>(std::uint32_t{low[i].bits} | std::uint32_t{high[i].bits}
                                                                          << 16);
      return x;
    }
    inline Ints load_units(const void* p) {
      Ints x;
      std::memcpy(&x, p, sizeof x);
      return x;
    }
    inline void store_units(void* p, Ints x) {
      std::memcpy(p, &x, sizeof x);
    }

#endif
  } else {
    return x;
  }
}

/// e^x with a relative error below 2e-7: x = n ln 2 + r, |r| <= ln 2 / 2, and the polynomial of
/// expf in Moshier's Cephes library (1989) for e^r. Zero below -104, infinity above 89; NaN stays.
inline Floats exp(Floats x) {
  // The bound is the first operand: a comparison with NaN takes the second, x itself.
  x = max(splat(-104.0f), x);
  x = min(splat(89.0f), x);
  const Floats n = round_even(x * 1.44269504088896341f);
  Floats r = fma(n, splat(-0.693359375f), x);
  r = fma(n, splat(2.12194440e-4f), r);
  Floats p = splat(1.9875691500e-4f);
  p = fma(p, r, splat(1.3981999507e-3f));
  p = fma(p, r, splat(8.3334519073e-3f));
  p = fma(p, r, splat(4.1665795894e-2f));
  p = fma(p, r, splat(1.6666665459e-1f));
  p = fma(p, r, splat(5.0000001201e-1f));
  p = fma(p * r, r, r) + 1.0f;
  return scale_by_power(p, n);
}

/// body(i, width) for i = 0, 16, ... below count: width is Full, or Tail for the last part.
template <class Body>
inline void for_lanes(std::int64_t count, Body&& body) {
  std::int64_t i = 0;
  for (; i + kLanes <= count; i += kLanes) body(i, Full{});
  if (i < count) body(i, Tail{count - i});
}

}  // namespace espalier::kernels::simd
