#include <catch2/catch.hpp>

#include "device/context.hpp"

namespace espalier::device {

TEST_CASE("the context measures a rate and names itself", "[context]") {
  Context context;
  CHECK(context.measure_gemm_peak(DType::f32, 0.01) > 1e8);
  CHECK_THAT(context.describe(), Catch::StartsWith("host, ") && Catch::Contains("oneDNN"));
  float* first = context.workspace(100);
  first[99] = 1.0f;
  CHECK(context.workspace(50) == first);
}

}  // namespace espalier::device
