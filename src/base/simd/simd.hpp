#pragma once
// Vectors of floats for the host operators: loads and stores that convert, exponentials, and the
// loop over a row, at the SIMD level that the file is compiled for (target.hpp). This header is
// included last, in a block of its own, by a .cpp named in espalier_simd_sources; what follows it
// stands in a namespace ESPALIER_SIMD.
#include <cstdint>
#include <type_traits>

#include "base/simd/vector.hpp"

// After vector.hpp, which knows the level.
#if ESPALIER_SIMD_AVX512
#include "base/simd/avx512.hpp"
#elif ESPALIER_SIMD_AVX2
#include "base/simd/avx2.hpp"
#else
#include "base/simd/portable.hpp"
#endif

namespace espalier::simd {
inline namespace ESPALIER_SIMD {

inline Floats keep(Floats x, Full, Floats) {
  return x;
}
/// acc + the product of 32-bit units that are one float each.
inline Floats dot(Floats acc, Ints a, Ints b, float) {
  return fma(as_floats(a), as_floats(b), acc);
}
#if !ESPALIER_SIMD_BF16
// Named in branches for levels that multiply pairs of bf16, and never called at the others.
Ints pair(Floats low, Floats high);
template <class Width>
Ints pair(const bf16* low, const bf16* high, Width lanes);
#endif
/// 1 / x; for bf16 at least its first 14 bits, which is 6 more than a bf16 keeps.
template <class T>
inline Floats reciprocal(Floats x) {
#if ESPALIER_SIMD_AVX512
  if constexpr (sizeof(T) == sizeof(bf16)) return _mm512_rcp14_ps(x);
#endif
  return 1.0f / x;
}

#if !ESPALIER_SIMD_AVX512
/// x * 2^n for an integral n from -127, where it is 0, to 128, where it is infinity.
inline Floats scale_by_power(Floats x, Floats n) {
  return x * as_floats((whole(n) + 127) << 23);
}
#endif

/// e^x with a relative error below 2e-7: x = n ln 2 + r, |r| <= ln 2 / 2, and the polynomial of
/// expf in Moshier's Cephes library (1989) for e^r. With AVX-512 zero below -104 and infinity above
/// 88.7; at other levels zero below -87.7 and infinity above 88.3. NaN stays.
inline Floats exp(Floats x) {
  // The bound is the first operand: a comparison with NaN takes the second, x itself. Without
  // AVX-512 n is from -127 to 128.
  constexpr bool kScalesAnything = kLanes == kMaxLanes;
  x = max(splat(kScalesAnything ? -104.0f : -88.05f), x);
  x = min(splat(kScalesAnything ? 89.0f : 88.8f), x);
  const Floats n = round_to_integer(x * 1.44269504088896341f);
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

/// 2^x as exactly as a result of T deserves: polynomials with the least relative error on
/// [-1/2, 1/2] and value 1 at 0 (Remez exchange), of degree 6 for float (relative error 2e-7, most
/// of it rounding) and 4 for bf16 (4e-6). x is below 127.5 or NaN; below -126.5 it may give 0.
template <class T>
inline Floats exp2_for(Floats x) {
  // The bound is the first operand: a comparison with NaN takes the second, x itself.
  if constexpr (kLanes < kMaxLanes) x = max(splat(-127.0f), x);
  const Floats n = round_to_integer(x);
  const Floats f = x - n;
  Floats p;
  if constexpr (std::is_same_v<T, bf16>) {
    p = fma(splat(9.78291255e-3f), f, splat(5.59768836e-2f));
    p = fma(p, f, splat(2.40207111e-1f));
    p = fma(p, f, splat(6.93113604e-1f));
  } else {
    p = fma(splat(1.55946775e-4f), f, splat(1.34066439e-3f));
    p = fma(p, f, splat(9.61769297e-3f));
    p = fma(p, f, splat(5.55031055e-2f));
    p = fma(p, f, splat(2.40226528e-1f));
    p = fma(p, f, splat(6.93147215e-1f));
  }
  return scale_by_power(fma(p, f, splat(1.0f)), n);
}

constexpr float kLog2E = 1.44269504088896341f;

/// e^x for a result that is rounded to T: exp for float, a shorter polynomial for bf16. Infinity
/// above the range, 0 below, for bf16 from 2^127.5 and 2^-126.5 on.
template <class T>
inline Floats exp_for(Floats x) {
  if constexpr (!std::is_same_v<T, bf16>) return exp(x);
  Floats exponent = max(splat(-150.0f), x * kLog2E);
  if constexpr (kLanes < kMaxLanes) exponent = min(splat(128.0f), exponent);
  return exp2_for<bf16>(exponent);
}

/// rows[i][j] becomes rows[j][i], in log2(lanes) rounds of shuffles of whole vectors.
inline void transpose(Ints (&rows)[kLanes]) {
  for (int width = 1; width < kLanes; width *= 2) {
    Ints shuffled[kLanes];
    for (int i = 0; i < kLanes / 2; ++i) {
      shuffled[2 * i] = interleave_low(rows[i], rows[i + kLanes / 2]);
      shuffled[2 * i + 1] = interleave_high(rows[i], rows[i + kLanes / 2]);
    }
    for (int i = 0; i < kLanes; ++i) rows[i] = shuffled[i];
  }
}

/// body(i, width) for i = 0, kLanes, ... below count: width is Full, or Tail for the last part.
template <class Body>
inline void for_lanes(std::int64_t count, Body&& body) {
  std::int64_t i = 0;
  for (; i + kLanes <= count; i += kLanes) body(i, Full{});
  if (i < count) body(i, Tail{count - i});
}

}  // namespace ESPALIER_SIMD
}  // namespace espalier::simd
