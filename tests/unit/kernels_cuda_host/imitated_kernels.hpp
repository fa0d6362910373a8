#pragma once
#include <string>
#include <vector>

// The part of CUDA's runtime that loads and launches kernels, beside device_cuda/imitated_cuda.hpp:
// it keeps what was launched and runs nothing. Refuses what the driver refuses.

namespace espalier::testing {

struct Launch {
  std::string kernel;  ///< its mangled name
  int num_blocks, block_threads;
  std::size_t shared_bytes;
  const void* first_pointer;  ///< where the first argument begins with one
};
struct KernelCode {
  bool has_warpgroups = true;     ///< false: as compiled for 90 instead of 90a
  int shared_bytes = 227 * 1024;  ///< that a block can ask for
  std::vector<Launch> launches;
  int tensor_maps = 0;  ///< encoded by the driver
};
KernelCode& kernel_code();

}  // namespace espalier::testing
