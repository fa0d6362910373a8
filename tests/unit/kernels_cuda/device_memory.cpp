// The cases on a GPU: matrices lie in managed memory, which host and device both see, and every
// launch waits for its kernel.
#include <cuda_runtime_api.h>

#include <cstdlib>

#include "cases.hpp"

namespace espalier::testing {

void set_order(std::uint64_t) {
  // The device has an order of its own.
}

bool has_warpgroups() {
  int device = 0, major = 0;
  return cudaGetDevice(&device) == cudaSuccess &&
         cudaDeviceGetAttribute(&major, cudaDevAttrComputeCapabilityMajor, device) == cudaSuccess &&
         major == 9;
}

namespace {

void* allocate_managed(std::size_t bytes) {
  void* p = nullptr;
  return cudaMallocManaged(&p, bytes > 0 ? bytes : 1) == cudaSuccess ? p : nullptr;
}
void release_managed(void* p) {
  cudaFree(p);
}

/// Set before main, and hence before any matrix. Without a GPU the test counts as skipped.
[[maybe_unused]] const bool managed = [] {
  // Read by the first call of CUDA. Without it the host would look before the kernel has written.
  setenv("CUDA_LAUNCH_BLOCKING", "1", /*overwrite=*/1);
  int num_devices = 0;
  if (cudaGetDeviceCount(&num_devices) != cudaSuccess || num_devices == 0) {
    fmt::print("no GPU: skipped\n");
    std::exit(77);
  }
  matrix_memory() = {allocate_managed, release_managed};
  return true;
}();

}  // namespace
}  // namespace espalier::testing
