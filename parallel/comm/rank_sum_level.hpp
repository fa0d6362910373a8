#pragma once
#include <cstdint>
#include <span>

#include "base/dtype.hpp"
#include "base/simd/level.hpp"

namespace espalier::parallel {

// Elements begin .. end - 1 of sum_in_rank_order, at each SIMD level. `block` divides the sources;
// all of them: one sum in their order.
#define ESPALIER_DECLARE(level, ...)                                                  \
  namespace level {                                                                   \
  void sum_range(std::span<const void* const> sources, std::size_t block, float* out, \
                 std::int64_t begin, std::int64_t end);                               \
  void sum_range(std::span<const void* const> sources, std::size_t block, bf16* out,  \
                 std::int64_t begin, std::int64_t end);                               \
  }
ESPALIER_SIMD_LEVELS(ESPALIER_DECLARE)
#undef ESPALIER_DECLARE

}  // namespace espalier::parallel
