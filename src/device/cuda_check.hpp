#pragma once
#include <cuda_runtime_api.h>

namespace espalier::device {

/// Throws Error (internal): "GPU 0 (NVIDIA H100 80GB HBM3): cudaMalloc: invalid argument
/// (cudaErrorInvalidValue)". An error of a kernel that ran earlier may appear in any later call.
[[noreturn]] void cuda_failed(cudaError_t status, const char* call, int device);

inline void check_cuda(cudaError_t status, const char* call, int device) {
  if (status != cudaSuccess) [[unlikely]]
    cuda_failed(status, call, device);
}

/// On the calling thread's device.
inline void check_cuda(cudaError_t status, const char* call) {
  if (status != cudaSuccess) [[unlikely]] {
    int device = 0;
    if (cudaGetDevice(&device) != cudaSuccess) device = -1;
    cuda_failed(status, call, device);
  }
}

}  // namespace espalier::device
