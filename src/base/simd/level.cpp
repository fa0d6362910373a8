#include "base/simd/level.hpp"

#include <array>
#include <atomic>
#include <vector>

#include "base/error.hpp"

namespace espalier::simd {
namespace {

constexpr std::array kAll = {Level::portable, Level::avx2, Level::avx512, Level::avx512_bf16};

/// Asks the processor and whether the operating system keeps the registers.
bool is_supported(Level level) {
  if (level == Level::portable) return true;
#if defined(__x86_64__)
  __builtin_cpu_init();
  const bool avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") &&
                    __builtin_cpu_supports("f16c") && __builtin_cpu_supports("bmi") &&
                    __builtin_cpu_supports("bmi2") && __builtin_cpu_supports("lzcnt") &&
                    __builtin_cpu_supports("movbe");
  if (level == Level::avx2) return avx2;
  const bool avx512 = avx2 && __builtin_cpu_supports("avx512f") &&
                      __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl") &&
                      __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512cd");
  return level == Level::avx512 ? avx512 : avx512 && __builtin_cpu_supports("avx512bf16");
#else
  return false;
#endif
}

std::vector<Level> find_supported() {
  std::vector<Level> levels;
  for (const Level level : kAll)
    if (is_supported(level)) levels.push_back(level);
  return levels;
}

std::atomic<Level>& in_force() {
  static std::atomic<Level> level = best_level();
  return level;
}

}  // namespace

std::string_view name_of(Level level) {
  switch (level) {
    case Level::portable:
      return "portable";
    case Level::avx2:
      return "avx2";
    case Level::avx512:
      return "avx512";
    case Level::avx512_bf16:
      return "avx512_bf16";
  }
  return "?";
}

Level level_from_name(std::string_view name) {
  for (const Level level : kAll)
    if (name_of(level) == name) return level;
  fail(ExitStatus::bad_configuration,
       "SIMD level \"{}\" is not known: use portable, avx2, avx512 or avx512_bf16", name);
}

std::span<const Level> supported_levels() {
  static const std::vector<Level> levels = find_supported();
  return levels;
}

Level best_level() {
  return supported_levels().back();
}

Level level() {
  return in_force().load(std::memory_order_relaxed);
}

void use_level(Level level) {
  require(is_supported(level), ExitStatus::bad_configuration,
          "SIMD level \"{}\" does not run on this processor; the best that does is \"{}\"",
          name_of(level), name_of(best_level()));
  in_force().store(level, std::memory_order_relaxed);
}

}  // namespace espalier::simd
