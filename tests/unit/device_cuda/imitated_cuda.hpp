#pragma once
#include <cuda_runtime_api.h>

#include <functional>

// CUDA's runtime over host memory, for what src/device asks of it. A stream does at once what it is
// given, unless it is captured. Calls that CUDA would refuse fail with CUDA's status; calls that it
// would allow and that still are mistakes are counted.

namespace espalier::testing {

struct CudaCounts {
  int mistakes = 0;     ///< calls without a device of the thread, copies of pageable memory
  int allocations = 0;  ///< of device memory, that are alive
  int pinned = 0;       ///< blocks that are alive
  int streams = 0, events = 0, graphs = 0;
};
CudaCounts& cuda_counts();

/// What the imitated machine has; a case that changes it puts it back.
struct CudaMachine {
  int driver = 13000;                ///< the CUDA version of its driver
  cudaError_t status = cudaSuccess;  ///< of counting GPUs
  int major = 9, minor = 0;          ///< of its GPU
};
CudaMachine& cuda_machine();
/// Bytes of device memory there are in all.
inline constexpr std::size_t kDeviceBytes = std::size_t{1} << 30;

}  // namespace espalier::testing

/// What the imitated cuBLASLt asks of the program.
struct ImitatedCublasLt {
  double milliseconds[4] = {3.0, 2.0, 1.0, 0.5};  ///< of its algorithms
  std::size_t version = 130000;
};
extern "C" ImitatedCublasLt* imitated_cublaslt();

/// For the imitated libraries: does `work` in `stream`, which takes it `ms`.
extern "C" cudaError_t imitated_launch(cudaStream_t stream, const std::function<void()>& work,
                                       double ms);
