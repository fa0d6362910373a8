#pragma once
// Every line of PTX in the program. Names and operands as in the PTX ISA manual.
#include <cstdint>

namespace espalier::kernels::cuda::ptx {

/// Both rounded to nearest even, `low` in the lower half.
__device__ __forceinline__ std::uint32_t cvt_rn_bf16x2(float low, float high) {
  std::uint32_t pair;
  asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(pair) : "f"(high), "f"(low));
  return pair;
}

/// 2^x to 2 units in the last place.
__device__ __forceinline__ float ex2_approx(float x) {
  float y;
  asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
  return y;
}

}  // namespace espalier::kernels::cuda::ptx
