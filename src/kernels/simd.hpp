#pragma once
// Vectors of 16 floats for the host operators: loads and stores that convert, exponentials, and the
// loop over a row. simd_avx512.hpp and simd_portable.hpp hold what depends on the machine.
#include <cstdint>
#include <type_traits>

#include "kernels/simd_vector.hpp"
#if ESPALIER_AVX512
#include "kernels/simd_avx512.hpp"
#else
#include "kernels/simd_portable.hpp"
#endif

namespace espalier::kernels::simd {

inline Floats keep(Floats x, Full, Floats) {
  return x;
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

/// 2^x as exactly as a result of T deserves: polynomials with the least relative error on
/// [-1/2, 1/2] and value 1 at 0 (Remez exchange), of degree 6 for float (relative error 2e-7, most
/// of it rounding) and 4 for bf16 (4e-6). x must be finite or NaN; far below the range it gives 0.
template <class T>
inline Floats exp2_for(Floats x) {
  const Floats n = round_even(x);
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
/// above the range, 0 below.
template <class T>
inline Floats exp_for(Floats x) {
  if constexpr (std::is_same_v<T, bf16>)
    return exp2_for<bf16>(max(splat(-150.0f), x * kLog2E));
  else
    return exp(x);
}

/// rows[i][j] becomes rows[j][i], in four rounds of shuffles of whole vectors.
inline void transpose(Ints (&rows)[kLanes]) {
  for (int round = 0; round < 4; ++round) {
    Ints shuffled[kLanes];
    for (int i = 0; i < kLanes / 2; ++i) {
      const Ints a = rows[i];
      const Ints b = rows[i + kLanes / 2];
      shuffled[2 * i] =
          __builtin_shufflevector(a, b, 0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23);
      shuffled[2 * i + 1] = __builtin_shufflevector(a, b, 8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13,
                                                    29, 14, 30, 15, 31);
    }
    for (int i = 0; i < kLanes; ++i) rows[i] = shuffled[i];
  }
}

/// body(i, width) for i = 0, 16, ... below count: width is Full, or Tail for the last part.
template <class Body>
inline void for_lanes(std::int64_t count, Body&& body) {
  std::int64_t i = 0;
  for (; i + kLanes <= count; i += kLanes) body(i, Full{});
  if (i < count) body(i, Tail{count - i});
}

}  // namespace espalier::kernels::simd
