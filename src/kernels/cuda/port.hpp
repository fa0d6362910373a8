#pragma once
// All that a kernel source uses of the machine, in two implementations: CUDA, and the emulation,
// which runs the same source on the host (emulation/README.md). A .cu file includes this
// header and names nothing of CUDA itself: no threadIdx, no <<<>>>, no intrinsic, no PTX.
//
//   ESPALIER_DEVICE            before a function that kernels call
//   ESPALIER_KERNEL(threads)   before a kernel; at most `threads` per block
//   ESPALIER_KERNEL_OF_BLOCKS(threads, blocks)   the same where a multiprocessor need not have room
//                              for more than `blocks` at a time; 0: as many as the compiler likes
//   launch(kernel, shape, queue, arguments...)
//
//   thread_index()             of the block, 0 .. num_threads() - 1;  lane(), warp(), num_warps()
//   block_index()              0 .. shape.num_blocks - 1
//   block_barrier()            all threads of the block meet; shared memory is then as written
//   warp_barrier()             the same for a warp
//   shuffle_xor(value, mask)   the value of lane ^ mask; all lanes of the warp take part
//   shuffle(value, from)       the value of lane `from`, as above
//   SharedAllocator            cuts the block's shared memory into SharedArray<T>, whose elements
//                              are reached by get(i), set(i, value) and words; part(first, count)
//   read_element(p), write_element(p, value)   one number of device memory. A kernel reaches device
//                              memory by these and the next two alone, so that the emulation sees
//                              and counts every access
//   read_words, write_words    4, 8, 16 or 32 bytes at once, aligned to min(16, size)
//   array.copy_async(i, from, valid)   16 bytes from device memory, zeros where not valid; then
//   commit_copies()            makes a group of the thread's copies, and
//   wait_for_copies<n>()       waits until at most the n latest groups are under way
//   array.load_matrices(i), load_matrices_transposed(i)   ldmatrix: lane l names row l % 8 of 8 x 8
//                              matrix l / 8 by its first element
//   multiply_add(d, a, b0, b1) mma.m16n8k16 of the warp: d += a b, bf16, fp32 sums
//   pair_of_bf16, rounded_bf16, fast_exp2
//   compute_capability()       host: of the current device, 90 or 100; 0 under emulation
//   num_multiprocessors()      host: of the current device; 2 under emulation. For the number of
//                              blocks that stay, never for how anything is summed
//   most_threads(kernel)       host: that a block of the kernel can have, as its code that the
//                              current device runs says
#if defined(__CUDACC__)
#include "kernels/cuda/port_device.hpp"
#else
#include "kernels/cuda/port_emulated.hpp"
#endif
