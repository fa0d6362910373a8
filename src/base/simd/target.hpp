#pragma once
// Everything below the line that includes this header is compiled for the SIMD level whose name is
// ESPALIER_SIMD. It is included last, through simd.hpp: what a header of the standard library or of
// another room defines must stay code of the baseline. Its inline functions and templates are
// merged among all objects of the program, and a processor without AVX-512 would meet them. For the
// same reason all that is defined below stands in a namespace of the level's name.
// The test style_simd looks for such instructions outside these namespaces.
//
// espalier_simd_sources (cmake/EspalierSimd.cmake) compiles a file once per level and defines
//   ESPALIER_SIMD         the level's name, which is the namespace: portable, avx2, ...
//   ESPALIER_SIMD_NUMBER  its number: 0, 1, 2, 3
#if !defined(ESPALIER_SIMD) || !defined(ESPALIER_SIMD_NUMBER)
#error "compile this file through espalier_simd_sources"
#endif

#define ESPALIER_SIMD_AVX2 (ESPALIER_SIMD_NUMBER == 1)
#define ESPALIER_SIMD_AVX512 (ESPALIER_SIMD_NUMBER >= 2)
#define ESPALIER_SIMD_BF16 (ESPALIER_SIMD_NUMBER == 3)

#if ESPALIER_SIMD_NUMBER > 0
// GCC 12 takes the undefined pass-through operands of unmasked intrinsics for mistakes (bug
// 105593).
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#pragma GCC diagnostic ignored "-Wuninitialized"
#include <immintrin.h>
#pragma GCC diagnostic pop
#endif

#if ESPALIER_SIMD_AVX2
#pragma GCC target("avx2,fma,f16c,bmi,bmi2,lzcnt,popcnt,movbe")
#elif ESPALIER_SIMD_NUMBER == 2
#pragma GCC target("avx2,fma,f16c,bmi,bmi2,lzcnt,popcnt,movbe,avx512f,avx512bw,avx512vl,avx512dq")
#pragma GCC target("avx512cd,prefer-vector-width=512")
#elif ESPALIER_SIMD_NUMBER == 3
#pragma GCC target("avx2,fma,f16c,bmi,bmi2,lzcnt,popcnt,movbe,avx512f,avx512bw,avx512vl,avx512dq")
#pragma GCC target("avx512cd,avx512bf16,prefer-vector-width=512")
#endif
