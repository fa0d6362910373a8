#include "gemm_under_test.hpp"

namespace espalier::device {

Gemm gemm_under_test() {
  return Gemm();
}

}  // namespace espalier::device
