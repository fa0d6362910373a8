#pragma once
#include "device/gemm.hpp"

namespace espalier::device {

/// The engine that a program's cases of test_gemm.cpp are for; it reads and writes host memory.
Gemm gemm_under_test();

}  // namespace espalier::device
