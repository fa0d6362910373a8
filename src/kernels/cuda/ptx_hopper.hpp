#pragma once
// PTX of Hopper: mbarriers, copies by the tensor memory accelerator, products of a warpgroup. Names
// and operands as in the PTX ISA manual. wgmma and setmaxnreg exist for sm_90a alone: kernels leave
// their whole body out elsewhere (kHasWarpgroupProducts).
#include <cstdint>

#include "kernels/cuda/ptx.hpp"

namespace espalier::kernels::ESPALIER_GPU::ptx {

__device__ __forceinline__ void mbarrier_init(std::uint32_t barrier, int num_arrivals) {
  asm volatile("mbarrier.init.shared::cta.b64 [%0], %1;"
               :
               : "r"(barrier), "r"(num_arrivals)
               : "memory");
}
/// Makes initialised barriers visible to the asynchronous proxy.
__device__ __forceinline__ void fence_mbarrier_init() {
  asm volatile("fence.mbarrier_init.release.cluster;" ::: "memory");
}
__device__ __forceinline__ void mbarrier_arrive(std::uint32_t barrier) {
  asm volatile("mbarrier.arrive.shared::cta.b64 _, [%0];" : : "r"(barrier) : "memory");
}
/// An arrival after which `bytes` more have to be copied before the phase can end.
__device__ __forceinline__ void mbarrier_arrive_expect_tx(std::uint32_t barrier, int bytes) {
  asm volatile("mbarrier.arrive.expect_tx.shared::cta.b64 _, [%0], %1;"
               :
               : "r"(barrier), "r"(bytes)
               : "memory");
}
/// Whether the phase of this parity has ended; waits for a while before it says no.
__device__ __forceinline__ bool mbarrier_try_wait_parity(std::uint32_t barrier, int parity) {
  std::uint32_t ended;
  asm volatile(
      "{\n"
      ".reg .pred p;\n"
      "mbarrier.try_wait.parity.shared::cta.b64 p, [%1], %2;\n"
      "selp.b32 %0, 1, 0, p;\n"
      "}"
      : "=r"(ended)
      : "r"(barrier), "r"(parity)
      : "memory");
  return ended != 0;
}

/// Generic writes to shared memory before are seen by the asynchronous proxy after.
__device__ __forceinline__ void fence_proxy_async() {
  asm volatile("fence.proxy.async.shared::cta;" ::: "memory");
}

/// Begins to fetch a tensor map.
__device__ __forceinline__ void prefetch_tensormap(const void* map) {
  asm volatile("prefetch.tensormap [%0];" : : "l"(map) : "memory");
}
/// A box of a tensor into shared memory; the bytes count for the barrier.
__device__ __forceinline__ void cp_async_bulk_tensor_load(std::uint32_t to, const void* map, int x,
                                                          int y, std::uint32_t barrier) {
  asm volatile(
      "cp.async.bulk.tensor.2d.shared::cluster.global.tile.mbarrier::complete_tx::bytes "
      "[%0], [%1, {%2, %3}], [%4];"
      :
      : "r"(to), "l"(map), "r"(x), "r"(y), "r"(barrier)
      : "memory");
}
__device__ __forceinline__ void cp_async_bulk_tensor_load(std::uint32_t to, const void* map, int x,
                                                          int y, int z, std::uint32_t barrier) {
  asm volatile(
      "cp.async.bulk.tensor.3d.shared::cluster.global.tile.mbarrier::complete_tx::bytes "
      "[%0], [%1, {%2, %3, %4}], [%5];"
      :
      : "r"(to), "l"(map), "r"(x), "r"(y), "r"(z), "r"(barrier)
      : "memory");
}
__device__ __forceinline__ void cp_async_bulk_tensor_load(std::uint32_t to, const void* map, int x,
                                                          int y, int z, int w,
                                                          std::uint32_t barrier) {
  asm volatile(
      "cp.async.bulk.tensor.4d.shared::cluster.global.tile.mbarrier::complete_tx::bytes "
      "[%0], [%1, {%2, %3, %4, %5}], [%6];"
      :
      : "r"(to), "l"(map), "r"(x), "r"(y), "r"(z), "r"(w), "r"(barrier)
      : "memory");
}
/// And back; what lies outside of the tensor is not written.
__device__ __forceinline__ void cp_async_bulk_tensor_store(const void* map, int x, int y,
                                                           std::uint32_t from) {
  asm volatile("cp.async.bulk.tensor.2d.global.shared::cta.tile.bulk_group [%0, {%1, %2}], [%3];"
               :
               : "l"(map), "r"(x), "r"(y), "r"(from)
               : "memory");
}
__device__ __forceinline__ void cp_async_bulk_tensor_store(const void* map, int x, int y, int z,
                                                           std::uint32_t from) {
  asm volatile(
      "cp.async.bulk.tensor.3d.global.shared::cta.tile.bulk_group [%0, {%1, %2, %3}], [%4];"
      :
      : "l"(map), "r"(x), "r"(y), "r"(z), "r"(from)
      : "memory");
}
__device__ __forceinline__ void cp_async_bulk_tensor_store(const void* map, int x, int y, int z,
                                                           int w, std::uint32_t from) {
  asm volatile(
      "cp.async.bulk.tensor.4d.global.shared::cta.tile.bulk_group [%0, {%1, %2, %3, %4}], [%5];"
      :
      : "l"(map), "r"(x), "r"(y), "r"(z), "r"(w), "r"(from)
      : "memory");
}
__device__ __forceinline__ void cp_async_bulk_commit_group() {
  asm volatile("cp.async.bulk.commit_group;" ::: "memory");
}
/// At most kPending groups of the thread still read their shared memory.
template <int kPending>
__device__ __forceinline__ void cp_async_bulk_wait_group_read() {
  asm volatile("cp.async.bulk.wait_group.read %0;" ::"n"(kPending) : "memory");
}

/// At most kPending groups of the thread are not complete.
template <int kPending>
__device__ __forceinline__ void cp_async_bulk_wait_group() {
  asm volatile("cp.async.bulk.wait_group %0;" ::"n"(kPending) : "memory");
}
/// `bytes` of shared memory, a multiple of 16, to device memory.
__device__ __forceinline__ void cp_async_bulk_store(void* to, std::uint32_t from, int bytes) {
  asm volatile("cp.async.bulk.global.shared::cta.bulk_group [%0], [%1], %2;"
               :
               : "l"(to), "r"(from), "r"(bytes)
               : "memory");
}
/// The same, added to the floats that are there.
__device__ __forceinline__ void cp_reduce_async_bulk_add_f32(void* to, std::uint32_t from,
                                                             int bytes) {
  asm volatile("cp.reduce.async.bulk.global.shared::cta.bulk_group.add.f32 [%0], [%1], %2;"
               :
               : "l"(to), "r"(from), "r"(bytes)
               : "memory");
}

/// What another block wrote before it released this value is seen after.
__device__ __forceinline__ std::int32_t ld_acquire_gpu(const std::int32_t* p) {
  std::int32_t value;
  asm volatile("ld.acquire.gpu.global.s32 %0, [%1];" : "=r"(value) : "l"(p) : "memory");
  return value;
}
__device__ __forceinline__ void st_release_gpu(std::int32_t* p, std::int32_t value) {
  asm volatile("st.release.gpu.global.s32 [%0], %1;" : : "l"(p), "r"(value) : "memory");
}
/// Returns what was there before.
__device__ __forceinline__ std::int32_t atom_add_gpu(std::int32_t* p, std::int32_t value) {
  std::int32_t before;
  asm volatile("atom.relaxed.gpu.global.add.s32 %0, [%1], %2;"
               : "=r"(before)
               : "l"(p), "r"(value)
               : "memory");
  return before;
}
/// 16 bytes out of the second-level cache, whatever the first-level one holds, and not before what
/// comes before.
__device__ __forceinline__ void ld_cg(std::uint32_t (&words)[4], const void* p) {
  asm volatile("ld.global.cg.v4.u32 {%0, %1, %2, %3}, [%4];"
               : "=r"(words[0]), "=r"(words[1]), "=r"(words[2]), "=r"(words[3])
               : "l"(p)
               : "memory");
}
/// What is seen of device memory before is seen by the asynchronous proxy after.
__device__ __forceinline__ void fence_proxy_async_global() {
  asm volatile("fence.proxy.async.global;" ::: "memory");
}

/// Barrier `id` (1 .. 15) of num_threads threads of the block.
__device__ __forceinline__ void bar_sync(int id, int num_threads) {
  asm volatile("bar.sync %0, %1;" : : "r"(id), "r"(num_threads) : "memory");
}
/// Counts for the barrier, and does not wait.
__device__ __forceinline__ void bar_arrive(int id, int num_threads) {
  asm volatile("bar.arrive %0, %1;" : : "r"(id), "r"(num_threads) : "memory");
}

template <int kRegisters>
__device__ __forceinline__ void setmaxnreg_inc() {
  asm volatile("setmaxnreg.inc.sync.aligned.u32 %0;" ::"n"(kRegisters));
}
template <int kRegisters>
__device__ __forceinline__ void setmaxnreg_dec() {
  asm volatile("setmaxnreg.dec.sync.aligned.u32 %0;" ::"n"(kRegisters));
}

__device__ __forceinline__ void wgmma_fence() {
  asm volatile("wgmma.fence.sync.aligned;" ::: "memory");
}
__device__ __forceinline__ void wgmma_commit_group() {
  asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory");
}
template <int kPending>
__device__ __forceinline__ void wgmma_wait_group() {
  asm volatile("wgmma.wait_group.sync.aligned %0;" ::"n"(kPending) : "memory");
}
/// Keeps the compiler from moving uses of a register across: it does not know that wgmma goes on
/// working with it.
__device__ __forceinline__ void keep_in_place(float& x) {
  asm volatile("" : "+f"(x)::"memory");
}
__device__ __forceinline__ void keep_in_place(std::uint32_t& x) {
  asm volatile("" : "+r"(x)::"memory");
}

/// d (64, 2 kCount) of a warpgroup = a (64, 16) b (2 kCount, 16)^T, bf16 in shared memory as the
/// descriptors say, k running along the rows of both.
template <int kCount>
__device__ void wgmma(float (&d)[kCount], std::uint64_t a, std::uint64_t b);
/// The same added to d.
template <int kCount>
__device__ void wgmma_add(float (&d)[kCount], std::uint64_t a, std::uint64_t b);
/// d (64, 2 kCount) = a (16, 64)^T b (16, 2 kCount), both in shared memory, k running across the
/// rows of both; and added to d.
template <int kCount>
__device__ void wgmma_columns(float (&d)[kCount], std::uint64_t a, std::uint64_t b);
template <int kCount>
__device__ void wgmma_add_columns(float (&d)[kCount], std::uint64_t a, std::uint64_t b);
/// d += a (64, 16) b (16, 2 kCount), both in shared memory, k running along the rows of a and
/// across those of b.
template <int kCount>
__device__ void wgmma_add_mixed(float (&d)[kCount], std::uint64_t a, std::uint64_t b);
/// d += a (64, 16) b (16, 2 kCount), a in registers, columns running along the rows of b.
template <int kCount>
__device__ void wgmma_add(float (&d)[kCount], const std::uint32_t (&a)[4], std::uint64_t b);

// The operands d, c being "=f" or "+f": without the first the compiler would carry registers that
// no instruction reads into the product, and copy them in between.
// clang-format off
#define ESPALIER_D8(c, d, i) c(d[i]), c(d[i + 1]), c(d[i + 2]), c(d[i + 3]), \
                             c(d[i + 4]), c(d[i + 5]), c(d[i + 6]), c(d[i + 7])
#define ESPALIER_D32(c, d) ESPALIER_D8(c, d, 0), ESPALIER_D8(c, d, 8), \
                           ESPALIER_D8(c, d, 16), ESPALIER_D8(c, d, 24)
#define ESPALIER_D64(c, d) ESPALIER_D32(c, d), ESPALIER_D8(c, d, 32), ESPALIER_D8(c, d, 40), \
                           ESPALIER_D8(c, d, 48), ESPALIER_D8(c, d, 56)
// clang-format on

template <>
__device__ __forceinline__ void wgmma<32>(float (&d)[32], std::uint64_t a, std::uint64_t b) {
  asm volatile(
      "wgmma.mma_async.sync.aligned.m64n64k16.f32.bf16.bf16 "
      "{%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, %16, %17, "
      "%18, %19, %20, %21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31}, "
      "%32, %33, 0, 1, 1, 0, 0;"
      : ESPALIER_D32("=f", d)
      : "l"(a), "l"(b));
}

template <>
__device__ __forceinline__ void wgmma_add<32>(float (&d)[32], std::uint64_t a, std::uint64_t b) {
  asm volatile(
      "wgmma.mma_async.sync.aligned.m64n64k16.f32.bf16.bf16 "
      "{%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, %16, %17, "
      "%18, %19, %20, %21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31}, "
      "%32, %33, 1, 1, 1, 0, 0;"
      : ESPALIER_D32("+f", d)
      : "l"(a), "l"(b));
}

template <>
__device__ __forceinline__ void wgmma_add<32>(float (&d)[32], const std::uint32_t (&a)[4],
                                              std::uint64_t b) {
  asm volatile(
      "wgmma.mma_async.sync.aligned.m64n64k16.f32.bf16.bf16 "
      "{%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, %16, %17, "
      "%18, %19, %20, %21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31}, "
      "{%32, %33, %34, %35}, %36, 1, 1, 1, 1;"
      : ESPALIER_D32("+f", d)
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b));
}

template <>
__device__ __forceinline__ void wgmma_columns<32>(float (&d)[32], std::uint64_t a,
                                                  std::uint64_t b) {
  asm volatile(
      "wgmma.mma_async.sync.aligned.m64n64k16.f32.bf16.bf16 "
      "{%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, %16, %17, "
      "%18, %19, %20, %21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31}, "
      "%32, %33, 0, 1, 1, 1, 1;"
      : ESPALIER_D32("=f", d)
      : "l"(a), "l"(b));
}

template <>
__device__ __forceinline__ void wgmma_add_columns<32>(float (&d)[32], std::uint64_t a,
                                                      std::uint64_t b) {
  asm volatile(
      "wgmma.mma_async.sync.aligned.m64n64k16.f32.bf16.bf16 "
      "{%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, %16, %17, "
      "%18, %19, %20, %21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31}, "
      "%32, %33, 1, 1, 1, 1, 1;"
      : ESPALIER_D32("+f", d)
      : "l"(a), "l"(b));
}

template <>
__device__ __forceinline__ void wgmma<64>(float (&d)[64], std::uint64_t a, std::uint64_t b) {
  asm volatile(
      "wgmma.mma_async.sync.aligned.m64n128k16.f32.bf16.bf16 "
      "{%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, %16, %17, "
      "%18, %19, %20, %21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31, %32, %33, %34, "
      "%35, %36, %37, %38, %39, %40, %41, %42, %43, %44, %45, %46, %47, %48, %49, %50, %51, "
      "%52, %53, %54, %55, %56, %57, %58, %59, %60, %61, %62, %63}, "
      "%64, %65, 0, 1, 1, 0, 0;"
      : ESPALIER_D64("=f", d)
      : "l"(a), "l"(b));
}

template <>
__device__ __forceinline__ void wgmma_add<64>(float (&d)[64], std::uint64_t a, std::uint64_t b) {
  asm volatile(
      "wgmma.mma_async.sync.aligned.m64n128k16.f32.bf16.bf16 "
      "{%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, %16, %17, "
      "%18, %19, %20, %21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31, %32, %33, %34, "
      "%35, %36, %37, %38, %39, %40, %41, %42, %43, %44, %45, %46, %47, %48, %49, %50, %51, "
      "%52, %53, %54, %55, %56, %57, %58, %59, %60, %61, %62, %63}, "
      "%64, %65, 1, 1, 1, 0, 0;"
      : ESPALIER_D64("+f", d)
      : "l"(a), "l"(b));
}

template <>
__device__ __forceinline__ void wgmma_add<64>(float (&d)[64], const std::uint32_t (&a)[4],
                                              std::uint64_t b) {
  asm volatile(
      "wgmma.mma_async.sync.aligned.m64n128k16.f32.bf16.bf16 "
      "{%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, %16, %17, "
      "%18, %19, %20, %21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31, %32, %33, %34, "
      "%35, %36, %37, %38, %39, %40, %41, %42, %43, %44, %45, %46, %47, %48, %49, %50, %51, "
      "%52, %53, %54, %55, %56, %57, %58, %59, %60, %61, %62, %63}, "
      "{%64, %65, %66, %67}, %68, 1, 1, 1, 1;"
      : ESPALIER_D64("+f", d)
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b));
}

/// The same for 256 columns, of operands as they lie (0) or transposed (1): k across their rows.
template <int kTransposeA, int kTransposeB>
__device__ __forceinline__ void wgmma_add_256(float (&d)[128], std::uint64_t a, std::uint64_t b) {
  asm volatile(
      "wgmma.mma_async.sync.aligned.m64n256k16.f32.bf16.bf16 "
      "{%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, %16, %17, %18, "
      "%19, %20, %21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31, %32, %33, %34, %35, "
      "%36, %37, %38, %39, %40, %41, %42, %43, %44, %45, %46, %47, %48, %49, %50, %51, %52, "
      "%53, %54, %55, %56, %57, %58, %59, %60, %61, %62, %63, %64, %65, %66, %67, %68, %69, "
      "%70, %71, %72, %73, %74, %75, %76, %77, %78, %79, %80, %81, %82, %83, %84, %85, %86, "
      "%87, %88, %89, %90, %91, %92, %93, %94, %95, %96, %97, %98, %99, %100, %101, %102, %103, "
      "%104, %105, %106, %107, %108, %109, %110, %111, %112, %113, %114, %115, %116, %117, "
      "%118, %119, %120, %121, %122, %123, %124, %125, %126, %127}, "
      "%128, %129, 1, 1, 1, %130, %131;"
      : ESPALIER_D64("+f", d), ESPALIER_D8("+f", d, 64), ESPALIER_D8("+f", d, 72),
        ESPALIER_D8("+f", d, 80), ESPALIER_D8("+f", d, 88), ESPALIER_D8("+f", d, 96),
        ESPALIER_D8("+f", d, 104), ESPALIER_D8("+f", d, 112), ESPALIER_D8("+f", d, 120)
      : "l"(a), "l"(b), "n"(kTransposeA), "n"(kTransposeB));
}
template <>
__device__ __forceinline__ void wgmma_add<128>(float (&d)[128], std::uint64_t a, std::uint64_t b) {
  wgmma_add_256<0, 0>(d, a, b);
}
template <>
__device__ __forceinline__ void wgmma_add_columns<128>(float (&d)[128], std::uint64_t a,
                                                       std::uint64_t b) {
  wgmma_add_256<1, 1>(d, a, b);
}
template <>
__device__ __forceinline__ void wgmma_add_mixed<128>(float (&d)[128], std::uint64_t a,
                                                     std::uint64_t b) {
  wgmma_add_256<0, 1>(d, a, b);
}

#undef ESPALIER_D8
#undef ESPALIER_D32
#undef ESPALIER_D64

}  // namespace espalier::kernels::ESPALIER_GPU::ptx
