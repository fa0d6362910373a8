#pragma once
#include <cstdint>
#include <vector>

#include "base/dtype.hpp"
#include "base/simd/level.hpp"

/// What the tests call of simd.hpp, once per level. Catch2's own code stays code of the baseline:
/// it also runs where a level does not.
namespace espalier::simd_under_test {

/// The first `count` lanes of a vector, and what lies behind them.
struct TailResult {
  std::vector<float> copied, loaded, kept;  ///< copied: 2 * in over -1
  std::vector<bf16> halves;                 ///< in over -1
};

// In place over arrays of a multiple of 16.
#define ESPALIER_DECLARE(level, ...)                                               \
  namespace level {                                                                \
  void exp_all(std::vector<float>& x);                                             \
  void exp_for_bf16_all(std::vector<float>& x);                                    \
  void exp2_all(std::vector<float>& x);                                            \
  void exp2_for_bf16_all(std::vector<float>& x);                                   \
  void scale_all(std::vector<float>& x, float power);                              \
  void sums_and_maxima(const std::vector<float>& x, std::vector<float>& results);  \
  void rounded_all(std::vector<float>& x);                                         \
  void transpose_square(std::vector<float>& square, std::int64_t& lanes);          \
  void tail(const std::vector<float>& in, std::int64_t count, TailResult& result); \
  }
ESPALIER_SIMD_LEVELS(ESPALIER_DECLARE)
#undef ESPALIER_DECLARE

}  // namespace espalier::simd_under_test
