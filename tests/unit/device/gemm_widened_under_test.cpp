#include "gemm_under_test.hpp"

namespace espalier::device {

Gemm gemm_under_test() {
  return Gemm(Bf16Products::widened);
}

}  // namespace espalier::device
