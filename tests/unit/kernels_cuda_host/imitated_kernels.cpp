#include "imitated_kernels.hpp"

#include <cuda.h>
#include <cuda_runtime_api.h>

#include <cstdint>
#include <cstring>
#include <map>

#include "unit/device_cuda/imitated_cuda.hpp"

namespace espalier::testing {
namespace {

constexpr int kSharedWithoutAsking = 48 * 1024;

struct Kernel {
  std::string name;
  int shared_bytes = kSharedWithoutAsking;
};
std::map<const void*, Kernel>& kernels() {
  static std::map<const void*, Kernel> all;
  return all;
}

/// As kernels that are left out are compiled: bounded to a warp.
int most_threads(const Kernel& kernel) {
  const bool by_warpgroups = kernel.name.find("wgmma") != std::string::npos;
  return by_warpgroups && !kernel_code().has_warpgroups ? 32 : 1024;
}

}  // namespace

KernelCode& kernel_code() {
  static KernelCode code;
  return code;
}

}  // namespace espalier::testing

using namespace espalier::testing;

extern "C" {

// What nvcc's objects call before main, and never for what is launched by cudaLaunchKernel.
void** __cudaRegisterFatBinary(void*) {
  static void* handle = nullptr;
  return &handle;
}
void __cudaRegisterFatBinaryEnd(void**) {}
void __cudaUnregisterFatBinary(void**) {}
void __cudaRegisterFunction(void**, const char* host, char*, const char* name, int, uint3*, uint3*,
                            dim3*, dim3*, int*) {
  kernels()[host].name = name;
}
unsigned __cudaPopCallConfiguration(dim3*, dim3*, std::size_t*, void*) {
  return 1;
}
cudaError_t __cudaGetKernel(cudaKernel_t*, const void*) {
  return cudaErrorNotSupported;
}
cudaError_t __cudaLaunchKernel(cudaKernel_t, dim3, dim3, void**, std::size_t, cudaStream_t) {
  return cudaErrorNotSupported;
}

cudaError_t cudaFuncGetAttributes(cudaFuncAttributes* attributes, const void* function) {
  const auto kernel = kernels().find(function);
  if (kernel == kernels().end()) return cudaErrorInvalidDeviceFunction;
  *attributes = {};
  attributes->maxThreadsPerBlock = most_threads(kernel->second);
  attributes->binaryVersion = 90;  // also of sm_90a
  return cudaSuccess;
}
cudaError_t cudaFuncSetAttribute(const void* function, cudaFuncAttribute attribute, int value) {
  if (attribute != cudaFuncAttributeMaxDynamicSharedMemorySize ||
      value > kernel_code().shared_bytes)
    return cudaErrorInvalidValue;
  kernels().at(function).shared_bytes = value;
  return cudaSuccess;
}
cudaError_t cudaLaunchKernel(const void* function, dim3 grid, dim3 block, void** arguments,
                             std::size_t shared_bytes, cudaStream_t) {
  const Kernel& kernel = kernels().at(function);
  if (static_cast<int>(block.x) > most_threads(kernel) ||
      shared_bytes > static_cast<std::size_t>(kernel.shared_bytes))
    return cudaErrorInvalidValue;
  kernel_code().launches.push_back({kernel.name, static_cast<int>(grid.x),
                                    static_cast<int>(block.x), shared_bytes,
                                    *static_cast<const void* const*>(arguments[0])});
  return cudaSuccess;
}

cudaError_t cudaMemcpy(void* to, const void* from, std::size_t bytes, cudaMemcpyKind) {
  std::memcpy(to, from, bytes);
  return cudaSuccess;
}
cudaError_t cudaDeviceSynchronize() {
  return cudaSuccess;
}
cudaError_t cudaMemsetAsync(void*, int, std::size_t, cudaStream_t) {
  return cudaErrorNotSupported;  // cuDNN's alone
}
cudaError_t cudaDeviceGetAttribute(int* value, cudaDeviceAttr attribute, int) {
  *value = attribute == cudaDevAttrComputeCapabilityMajor         ? 9
           : attribute == cudaDevAttrMultiProcessorCount          ? 132
           : attribute == cudaDevAttrMaxSharedMemoryPerBlockOptin ? kernel_code().shared_bytes
                                                                  : 0;
  return cudaSuccess;
}

/// What cuda.h says of the arguments of cuTensorMapEncodeTiled, for bf16 with a swizzle of 128
/// bytes.
static CUresult encode(CUtensorMap*, CUtensorMapDataType, cuuint32_t rank, void* address,
                       const cuuint64_t* sizes, const cuuint64_t* stride_bytes,
                       const cuuint32_t* box, const cuuint32_t* steps, CUtensorMapInterleave,
                       CUtensorMapSwizzle, CUtensorMapL2promotion, CUtensorMapFloatOOBfill) {
  bool valid = rank >= 1 && rank <= 5 && reinterpret_cast<std::uintptr_t>(address) % 16 == 0 &&
               2 * box[0] <= 128 && 2 * box[0] % 16 == 0;
  for (cuuint32_t i = 0; i < rank; ++i)
    valid = valid && sizes[i] > 0 && sizes[i] <= cuuint64_t{1} << 32 && box[i] > 0 &&
            box[i] <= 256 && steps[i] == 1;
  for (cuuint32_t i = 0; i + 1 < rank; ++i)
    valid = valid && stride_bytes[i] % 16 == 0 && stride_bytes[i] < cuuint64_t{1} << 40;
  if (!valid) return CUDA_ERROR_INVALID_VALUE;
  ++kernel_code().tensor_maps;
  return CUDA_SUCCESS;
}
cudaError_t cudaGetDriverEntryPointByVersion(const char* symbol, void** function, unsigned,
                                             unsigned long long,
                                             cudaDriverEntryPointQueryResult* found) {
  if (std::string(symbol) != "cuTensorMapEncodeTiled") return cudaErrorInvalidValue;
  *function = reinterpret_cast<void*>(encode);
  *found = cudaDriverEntryPointSuccess;
  return cudaSuccess;
}

}  // extern "C"
