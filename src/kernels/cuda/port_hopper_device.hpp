#pragma once
// port_hopper.hpp for nvcc.
#include <cuda.h>
#include <cudaTypedefs.h>

#include <map>
#include <utility>

#include "kernels/cuda/launch_shape.hpp"
#include "kernels/cuda/port.hpp"
#include "kernels/cuda/ptx_hopper.hpp"

#define ESPALIER_GRID_CONSTANT __grid_constant__
// A kernel whose body is left out takes a single warp: the driver refuses to launch it with more,
// and most_threads tells.
#define ESPALIER_ONE_BLOCK_KERNEL(threads) \
  __global__ void __launch_bounds__(kHasWarpgroupProducts ? (threads) : kWarpSize, 1)

namespace espalier::kernels::ESPALIER_GPU {

#if defined(__CUDA_ARCH__) && !defined(__CUDA_ARCH_FEAT_SM90_ALL)
constexpr bool kHasWarpgroupProducts = false;
#else
constexpr bool kHasWarpgroupProducts = true;
#endif

using TensorMap = CUtensorMap;

/// The driver's function, found at run time: the program does not link libcuda, so that it starts
/// on machines without a driver.
inline PFN_cuTensorMapEncodeTiled_v12000 tensor_map_encoder() {
  static const auto encoder = [] {
    void* function = nullptr;
    cudaDriverEntryPointQueryResult found = cudaDriverEntryPointSymbolNotFound;
    check(cudaGetDriverEntryPointByVersion("cuTensorMapEncodeTiled", &function, 12000,
                                           cudaEnableDefault, &found),
          "cuTensorMapEncodeTiled");
    require(found == cudaDriverEntryPointSuccess, ExitStatus::internal,
            "the CUDA driver has no cuTensorMapEncodeTiled: it must be of CUDA 12 or later");
    return reinterpret_cast<PFN_cuTensorMapEncodeTiled_v12000>(function);
  }();
  return encoder;
}

inline TensorMap encode_tensor_map(const void* data, const TensorExtents& extents) {
  TensorMap map{};
  cuuint64_t sizes[kMaxTensorRank], stride_bytes[kMaxTensorRank];
  cuuint32_t box[kMaxTensorRank], steps[kMaxTensorRank];
  for (int i = 0; i < extents.rank; ++i) {
    sizes[i] = static_cast<cuuint64_t>(extents.size[i]);
    box[i] = static_cast<cuuint32_t>(extents.box[i]);
    steps[i] = 1;
    if (i > 0) stride_bytes[i - 1] = static_cast<cuuint64_t>(extents.stride[i]) * sizeof(bf16);
  }
  const CUresult status = tensor_map_encoder()(
      &map, CU_TENSOR_MAP_DATA_TYPE_BFLOAT16, static_cast<cuuint32_t>(extents.rank),
      const_cast<void*>(data), sizes, stride_bytes, box, steps, CU_TENSOR_MAP_INTERLEAVE_NONE,
      CU_TENSOR_MAP_SWIZZLE_128B, CU_TENSOR_MAP_L2_PROMOTION_L2_256B,
      CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE);
  require(status == CUDA_SUCCESS, ExitStatus::internal, "cuTensorMapEncodeTiled: error {}",
          static_cast<int>(status));
  return map;
}

/// A map depends on nothing but its arguments, and a training asks for the same ones in every step.
inline TensorMap make_tensor_map(const void* data, const TensorExtents& extents) {
  constexpr std::size_t kMost = 4096;  // a cache of keys that grows asks for ever new ones
  static thread_local std::map<std::pair<const void*, TensorExtents>, TensorMap> made;
  const std::pair key(data, extents);
  if (const auto known = made.find(key); known != made.end()) return known->second;
  if (made.size() >= kMost) made.clear();
  return made.emplace(key, encode_tensor_map(data, extents)).first->second;
}

inline TensorMap make_new_tensor_map(const void* data, const TensorExtents& extents) {
  return encode_tensor_map(data, extents);
}

template <class... Maps>
ESPALIER_DEVICE void prefetch_maps(const Maps&... maps) {
  (ptx::prefetch_tensormap(&maps), ...);
}

struct Barrier {
  std::uint32_t address;

  ESPALIER_DEVICE void init(int num_arrivals) const { ptx::mbarrier_init(address, num_arrivals); }
  ESPALIER_DEVICE void arrive() const { ptx::mbarrier_arrive(address); }
  ESPALIER_DEVICE void arrive_expecting(int bytes) const {
    ptx::mbarrier_arrive_expect_tx(address, bytes);
  }
  ESPALIER_DEVICE void wait(int parity) const {
    while (!ptx::mbarrier_try_wait_parity(address, parity)) {
    }
  }
};
ESPALIER_DEVICE void publish_barriers() {
  ptx::fence_mbarrier_init();
}
ESPALIER_DEVICE void fence_async_proxy() {
  ptx::fence_proxy_async();
}
ESPALIER_DEVICE void group_barrier(int id, int count) {
  ptx::bar_sync(id, count);
}
ESPALIER_DEVICE void arrive_at_group_barrier(int id, int count) {
  ptx::bar_arrive(id, count);
}

ESPALIER_DEVICE void load_box(const TensorMap& map, const int (&at)[2], std::uint32_t to,
                              Barrier barrier) {
  ptx::cp_async_bulk_tensor_load(to, &map, at[0], at[1], barrier.address);
}
ESPALIER_DEVICE void load_box(const TensorMap& map, const int (&at)[3], std::uint32_t to,
                              Barrier barrier) {
  ptx::cp_async_bulk_tensor_load(to, &map, at[0], at[1], at[2], barrier.address);
}
ESPALIER_DEVICE void load_box(const TensorMap& map, const int (&at)[4], std::uint32_t to,
                              Barrier barrier) {
  ptx::cp_async_bulk_tensor_load(to, &map, at[0], at[1], at[2], at[3], barrier.address);
}
ESPALIER_DEVICE void store_box(const TensorMap& map, const int (&at)[2], std::uint32_t from) {
  ptx::cp_async_bulk_tensor_store(&map, at[0], at[1], from);
}
ESPALIER_DEVICE void store_box(const TensorMap& map, const int (&at)[3], std::uint32_t from) {
  ptx::cp_async_bulk_tensor_store(&map, at[0], at[1], at[2], from);
}
ESPALIER_DEVICE void store_box(const TensorMap& map, const int (&at)[4], std::uint32_t from) {
  ptx::cp_async_bulk_tensor_store(&map, at[0], at[1], at[2], at[3], from);
}
ESPALIER_DEVICE void commit_stores() {
  ptx::cp_async_bulk_commit_group();
}
template <int kPending>
ESPALIER_DEVICE void wait_for_stores() {
  ptx::cp_async_bulk_wait_group_read<kPending>();
}

template <int kPending>
ESPALIER_DEVICE void complete_stores() {
  ptx::cp_async_bulk_wait_group<kPending>();
}
ESPALIER_DEVICE void store_floats(float* to, std::uint32_t from, int bytes) {
  ptx::cp_async_bulk_store(to, from, bytes);
}
ESPALIER_DEVICE void add_floats(float* to, std::uint32_t from, int bytes) {
  ptx::cp_reduce_async_bulk_add_f32(to, from, bytes);
}
ESPALIER_DEVICE std::int32_t count_one(std::int32_t* count) {
  return ptx::atom_add_gpu(count, 1);
}
ESPALIER_DEVICE void wait_for_count(const std::int32_t* count, std::int32_t wanted) {
  while (ptx::ld_acquire_gpu(count) < wanted) {
  }
  ptx::fence_proxy_async_global();
}
ESPALIER_DEVICE void publish_count(std::int32_t* count, std::int32_t value) {
  ptx::st_release_gpu(count, value);
}
template <int kCount>
ESPALIER_DEVICE Words<kCount> read_sums(const float* p) {
  static_assert(kCount == 4);
  Words<kCount> words;
  ptx::ld_cg(words.at, p);
  return words;
}

ESPALIER_DEVICE int same_in_warp(int value) {
  return shuffle(value, 0);
}
template <int kRegisters>
ESPALIER_DEVICE void raise_registers() {
  ptx::setmaxnreg_inc<kRegisters>();
}
template <int kRegisters>
ESPALIER_DEVICE void lower_registers() {
  ptx::setmaxnreg_dec<kRegisters>();
}

template <class T, int kCount>
ESPALIER_DEVICE void keep_in_place(T (&registers)[kCount]) {
#pragma unroll
  for (int i = 0; i < kCount; ++i) ptx::keep_in_place(registers[i]);
}
template <class T, int kRows, int kCount>
ESPALIER_DEVICE void keep_in_place(T (&registers)[kRows][kCount]) {
#pragma unroll
  for (int i = 0; i < kRows; ++i) keep_in_place(registers[i]);
}
template <class... Registers>
ESPALIER_DEVICE void begin_products(Registers&... registers) {
  (keep_in_place(registers), ...);
  ptx::wgmma_fence();
}
ESPALIER_DEVICE void end_products() {
  ptx::wgmma_commit_group();
}
template <int kPending, class... Registers>
ESPALIER_DEVICE void wait_for_products(Registers&... registers) {
  ptx::wgmma_wait_group<kPending>();
  (keep_in_place(registers), ...);
}
template <int kCount>
ESPALIER_DEVICE void multiply(float (&d)[kCount], std::uint64_t a, std::uint64_t b) {
  ptx::wgmma(d, a, b);
}
template <int kCount>
ESPALIER_DEVICE void multiply_add(float (&d)[kCount], std::uint64_t a, std::uint64_t b) {
  ptx::wgmma_add(d, a, b);
}
template <int kCount>
ESPALIER_DEVICE void multiply_columns(float (&d)[kCount], std::uint64_t a, std::uint64_t b) {
  ptx::wgmma_columns(d, a, b);
}
template <int kCount>
ESPALIER_DEVICE void multiply_add_columns(float (&d)[kCount], std::uint64_t a, std::uint64_t b) {
  ptx::wgmma_add_columns(d, a, b);
}
template <int kCount>
ESPALIER_DEVICE void multiply_add_mixed(float (&d)[kCount], std::uint64_t a, std::uint64_t b) {
  ptx::wgmma_add_mixed(d, a, b);
}
template <int kCount>
ESPALIER_DEVICE void multiply_add(float (&d)[kCount], const std::uint32_t (&a)[4],
                                  std::uint64_t b) {
  ptx::wgmma_add(d, a, b);
}

}  // namespace espalier::kernels::ESPALIER_GPU
