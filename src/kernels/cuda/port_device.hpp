#pragma once
// port.hpp for nvcc.
#include <cuda_runtime.h>

#include <cmath>
#include <cstdint>
#include <type_traits>

#include "base/dtype.hpp"
#include "base/integers.hpp"
#include "device/cuda_check.hpp"
#include "kernels/cuda/launch_shape.hpp"
#include "kernels/cuda/ptx.hpp"

#define ESPALIER_DEVICE __device__ __forceinline__
#define ESPALIER_KERNEL(max_threads) __global__ void __launch_bounds__(max_threads)
#define ESPALIER_KERNEL_OF_BLOCKS(max_threads, min_blocks) \
  __global__ void __launch_bounds__(max_threads, min_blocks)

namespace espalier::kernels::ESPALIER_GPU {

inline void check(cudaError_t status, const char* what) {
  device::check_cuda(status, what);
}

template <class... Parameters>
void launch(void (*kernel)(Parameters...), const LaunchShape& shape, const Queue& queue,
            std::type_identity_t<Parameters>... arguments) {
  require_launchable(shape);
  if (shape.num_blocks == 0) return;
  const auto* function = reinterpret_cast<const void*>(kernel);
  constexpr std::int64_t kWithoutAsking = 48 * 1024;
  if (shape.shared_bytes > kWithoutAsking) {
    int device = 0, most = 0;
    check(cudaGetDevice(&device), "current device");
    check(cudaDeviceGetAttribute(&most, cudaDevAttrMaxSharedMemoryPerBlockOptin, device),
          "shared memory");
    require_shared_bytes(shape, most);
    check(cudaFuncSetAttribute(function, cudaFuncAttributeMaxDynamicSharedMemorySize,
                               narrow<int>(shape.shared_bytes)),
          "cudaFuncSetAttribute");
  }
  void* pointers[] = {&arguments...};
  check(cudaLaunchKernel(function, dim3(narrow<unsigned>(shape.num_blocks)),
                         dim3(narrow<unsigned>(shape.block_threads)), pointers,
                         narrow<std::size_t>(shape.shared_bytes), queue.stream),
        "cudaLaunchKernel");
}

inline int compute_capability() {
  int device = 0, major = 0, minor = 0;
  check(cudaGetDevice(&device), "current device");
  check(cudaDeviceGetAttribute(&major, cudaDevAttrComputeCapabilityMajor, device), "capability");
  check(cudaDeviceGetAttribute(&minor, cudaDevAttrComputeCapabilityMinor, device), "capability");
  return 10 * major + minor;
}

inline int num_multiprocessors() {
  int device = 0, count = 0;
  check(cudaGetDevice(&device), "current device");
  check(cudaDeviceGetAttribute(&count, cudaDevAttrMultiProcessorCount, device), "multiprocessors");
  return count;
}

template <class... Parameters>
int most_threads(void (*kernel)(Parameters...)) {
  cudaFuncAttributes attributes{};
  check(cudaFuncGetAttributes(&attributes, reinterpret_cast<const void*>(kernel)),
        "cudaFuncGetAttributes");
  return attributes.maxThreadsPerBlock;
}

ESPALIER_DEVICE int thread_index() {
  return static_cast<int>(threadIdx.x);
}
ESPALIER_DEVICE int num_threads() {
  return static_cast<int>(blockDim.x);
}
ESPALIER_DEVICE std::int64_t block_index() {
  return static_cast<std::int64_t>(blockIdx.x);
}
ESPALIER_DEVICE void block_barrier() {
  __syncthreads();
}
ESPALIER_DEVICE void warp_barrier() {
  __syncwarp();
}
template <class T>
ESPALIER_DEVICE T shuffle_xor(T value, int mask) {
  return __shfl_xor_sync(0xFFFFFFFFu, value, mask);
}
template <class T>
ESPALIER_DEVICE T shuffle(T value, int from) {
  return __shfl_sync(0xFFFFFFFFu, value, from);
}

ESPALIER_DEVICE std::uint32_t pair_of_bf16(float low, float high) {
  return ptx::cvt_rn_bf16x2(low, high);
}
ESPALIER_DEVICE bf16 rounded_bf16(float value) {
  bf16 result;
  result.bits = static_cast<std::uint16_t>(ptx::cvt_rn_bf16x2(value, 0.0f));
  return result;
}
ESPALIER_DEVICE float fast_exp2(float x) {
  return ptx::ex2_approx(x);
}

template <class T>
ESPALIER_DEVICE T read_element(const T* p) {
  return *p;
}
template <class T>
ESPALIER_DEVICE void write_element(T* p, std::type_identity_t<T> value) {
  *p = value;
}
/// 16 bytes as one number. As uint2 and uint4 nvcc takes the words apart, and in half of the
/// kernels it did not find them together again: four stores of 4 bytes. Loads were found together,
/// in up to eight registers more.
using Whole = unsigned __int128;

template <int kCount>
ESPALIER_DEVICE Words<kCount> read_words(const void* p) {
  Words<kCount> words;
  if constexpr (kCount == 1) {
    words.at[0] = *static_cast<const std::uint32_t*>(p);
  } else if constexpr (kCount == 2) {
    const std::uint64_t pair = *static_cast<const std::uint64_t*>(p);
    words.at[0] = static_cast<std::uint32_t>(pair);
    words.at[1] = static_cast<std::uint32_t>(pair >> 32);
  } else {
    static_assert(kCount % 4 == 0);
#pragma unroll
    for (int i = 0; i < kCount; i += 4) {
      const Whole four = static_cast<const Whole*>(p)[i / 4];
#pragma unroll
      for (int j = 0; j < 4; ++j) words.at[i + j] = static_cast<std::uint32_t>(four >> 32 * j);
    }
  }
  return words;
}

ESPALIER_DEVICE std::uint64_t joined(std::uint32_t low, std::uint32_t high) {
  return std::uint64_t{high} << 32 | low;
}
template <int kCount>
ESPALIER_DEVICE void write_words(void* p, const Words<kCount>& words) {
  if constexpr (kCount == 1) {
    *static_cast<std::uint32_t*>(p) = words.at[0];
  } else if constexpr (kCount == 2) {
    *static_cast<std::uint64_t*>(p) = joined(words.at[0], words.at[1]);
  } else {
    static_assert(kCount % 4 == 0);
#pragma unroll
    for (int i = 0; i < kCount; i += 4) {
      const std::uint64_t low = joined(words.at[i], words.at[i + 1]);
      const std::uint64_t high = joined(words.at[i + 2], words.at[i + 3]);
      static_cast<Whole*>(p)[i / 4] = Whole{high} << 64 | low;
    }
  }
}

/// An array in the block's shared memory. Elements are read and written through functions, so that
/// the emulation sees every access.
template <class T>
class SharedArray {
 public:
  ESPALIER_DEVICE explicit SharedArray(T* data) : data_(data) {}
  ESPALIER_DEVICE SharedArray part(int first, int) const { return SharedArray(data_ + first); }
  /// Of element i, in the block's shared memory.
  ESPALIER_DEVICE std::uint32_t address(int i) const { return ptx::shared_address(data_ + i); }
  ESPALIER_DEVICE T get(int i) const { return data_[i]; }
  ESPALIER_DEVICE void set(int i, T value) const { data_[i] = value; }
  template <int kCount>
  ESPALIER_DEVICE Words<kCount> read_words(int i) const {
    return ESPALIER_GPU::read_words<kCount>(data_ + i);
  }
  template <int kCount>
  ESPALIER_DEVICE void write_words(int i, const Words<kCount>& words) const {
    ESPALIER_GPU::write_words(data_ + i, words);
  }
  ESPALIER_DEVICE void copy_async(int i, const T* from, bool valid) const {
    ptx::cp_async_cg_16(data_ + i, from, valid);
  }
  ESPALIER_DEVICE Words<4> load_matrices(int i) const {
    Words<4> words;
    ptx::ldmatrix_x4(words.at, data_ + i);
    return words;
  }
  ESPALIER_DEVICE Words<4> load_matrices_transposed(int i) const {
    Words<4> words;
    ptx::ldmatrix_x4_trans(words.at, data_ + i);
    return words;
  }

 private:
  T* data_;
};

class SharedAllocator {
 public:
  template <class T>
  ESPALIER_DEVICE SharedArray<T> take(int count) {
    extern __shared__ __align__(1024) unsigned char espalier_shared_memory[];
    T* data = reinterpret_cast<T*>(espalier_shared_memory + used_);
    used_ += static_cast<int>(shared_bytes<T>(count));
    return SharedArray<T>(data);
  }

 private:
  int used_ = 0;
};

ESPALIER_DEVICE void commit_copies() {
  ptx::cp_async_commit_group();
}
template <int kPending>
ESPALIER_DEVICE void wait_for_copies() {
  ptx::cp_async_wait_group<kPending>();
}
ESPALIER_DEVICE void multiply_add(float (&d)[4], const Words<4>& a, std::uint32_t b0,
                                  std::uint32_t b1) {
  ptx::mma_m16n8k16_bf16(d, a.at, b0, b1);
}

/// See emulation/faults.hpp.
ESPALIER_DEVICE int num_tail_columns(int count) {
  return count;
}

}  // namespace espalier::kernels::ESPALIER_GPU
