#pragma once
#include <cstdint>
#include <span>
#include <string_view>

namespace espalier::simd {

/// The instruction sets that the host operators are compiled for, lowest first. One program holds
/// all that its architecture has and takes one when it starts.
enum class Level : std::uint8_t {
  portable,     ///< the program's baseline: SSE4.2 (x86-64-v2), or NEON on Arm
  avx2,         ///< AVX2 with FMA: since AMD Zen and Intel Haswell
  avx512,       ///< AVX-512 F, BW, VL, DQ, CD: since Skylake-SP
  avx512_bf16,  ///< with products of bf16: since AMD Zen 4 and Cooper Lake
};

// X(level, ...) for every level that the program holds.
#if defined(__x86_64__)
#define ESPALIER_SIMD_LEVELS(X, ...) \
  X(portable, __VA_ARGS__) X(avx2, __VA_ARGS__) X(avx512, __VA_ARGS__) X(avx512_bf16, __VA_ARGS__)
#else
#define ESPALIER_SIMD_LEVELS(X, ...) X(portable, __VA_ARGS__)
#endif

/// As device.simd spells it: "avx512_bf16".
std::string_view name_of(Level level);
/// The level of that name; throws Error (bad_configuration) on any other.
Level level_from_name(std::string_view name);

/// What this processor and its operating system run, lowest first.
std::span<const Level> supported_levels();
/// The last of them.
Level best_level();

/// The level that operators run at: best_level() unless use_level said otherwise.
Level level();
/// From now on, for the whole process. Results differ between levels by rounding, so that all ranks
/// of a job take the same one. Throws Error (bad_configuration) when it is not supported here.
void use_level(Level level);

// ESPALIER_AT_SIMD_LEVEL(scope, function(arguments)) calls scope::<level in force>::function, as a
// statement; the result is dropped.
#define ESPALIER_SIMD_CASE(level, scope, ...) \
  case ::espalier::simd::Level::level:        \
    scope::level::__VA_ARGS__;                \
    break;
#define ESPALIER_AT_SIMD_LEVEL(scope, ...)                           \
  switch (::espalier::simd::level()) {                               \
    ESPALIER_SIMD_LEVELS(ESPALIER_SIMD_CASE, scope, __VA_ARGS__)     \
    default: /* use_level lets no level in that the program lacks */ \
      break;                                                         \
  }

}  // namespace espalier::simd
