// That the cases which run on a GPU (kernels_cuda/device_memory.cpp) give kernels its own memory.
#include <catch2/catch.hpp>

#include "imitated_kernels.hpp"
#include "unit/device_cuda/imitated_cuda.hpp"
#include "unit/kernels/support.hpp"
#include "unit/kernels_cuda/on_device.hpp"

namespace espalier::testing {

TEST_CASE("a kernel of the cases works on a copy of its matrix, which comes back", "[cuda]") {
  CHECK(cudaSetDevice(0) == cudaSuccess);
  kernel_code().launches.clear();
  const int before = cuda_counts().allocations;
  {
    Matrix<float> matrix(5, 7);
    matrix.randomize("matrix", 1.0);
    const Matrix<float> same = matrix;
    CHECK(cuda_counts().allocations == before + 2);
    kernels::on_device::set_zero({}, matrix.view());
    REQUIRE(kernel_code().launches.size() == 1);
    CHECK(kernel_code().launches.front().first_pointer != matrix.view().data);
    CHECK(kernel_code().launches.front().first_pointer != nullptr);
    CHECK(matrix.same_bits(same));  // no kernel has run: what came back is what was sent
  }
  CHECK(cuda_counts().allocations == before);
}

}  // namespace espalier::testing
