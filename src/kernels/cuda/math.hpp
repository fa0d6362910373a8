#pragma once
#include <type_traits>

#include "kernels/cuda/port.hpp"

namespace espalier::kernels::ESPALIER_GPU {

/// e^x for results that are kept as T: for bf16 by the device's own 2^x, whose error of 2^-22, and
/// |x| * 2^-24 more for rounding x * log2(e), is far below a bf16's.
template <class T>
ESPALIER_DEVICE float exp_for(float x) {
  constexpr float kLog2E = 1.4426950408889634f;
  if constexpr (std::is_same_v<T, float>)
    return expf(x);
  else
    return fast_exp2(x * kLog2E);
}

}  // namespace espalier::kernels::ESPALIER_GPU
