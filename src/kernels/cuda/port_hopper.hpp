#pragma once
// What kernels use of Hopper beside port.hpp, in the same two implementations.
//
//   kHasWarpgroupProducts      false where the compiler's target has none of this: a kernel leaves
//                              its body out (if constexpr), and cannot be launched
//   ESPALIER_ONE_BLOCK_KERNEL(threads)   a kernel of which a multiprocessor runs one block at a
//                              time: the compiler then knows how many registers a thread begins
//                              with, without which it ignores raise_registers
//   ESPALIER_GRID_CONSTANT     before a kernel's only parameter, const, when it holds a TensorMap
//
//   make_tensor_map(data, extents)   on the host: a TensorMap, which names boxes of a tensor; made
//                              once for the same arguments
//   make_new_tensor_map(data, extents)   the same without looking for it among those made before,
//                              for a tensor that seldom has the same size twice
//   prefetch_maps(maps...)     by one thread, before it waits for anything: their first use then
//                              does not wait for them
//   load_box(map, coordinates, to, barrier)   one thread starts to copy the box that begins at
//                              `coordinates` into shared memory, rows of 128 bytes with their
//                              16-byte chunks swizzled (swizzled_tile.hpp); zeros outside of the
//                              tensor
//   store_box(map, coordinates, from)   and back; nothing is written outside. Then
//   commit_stores(), wait_for_stores<n>()   until at most n groups of the thread still read
//   store_floats(to, from, bytes), add_floats(to, from, bytes)   one thread starts to copy floats
//                              of shared memory to device memory, or to add them to those that are
//                              there; groups as above. complete_stores<n>(): until at most n groups
//                              of the thread are not in device memory
//   publish_count(count, n)    by one thread: what it has completed before can be added to by the
//                              block that waits until the count in device memory is n,
//   wait_for_count(count, n)      the one thread that is about to add
//   read_sums<n>(p)            words of floats that the thread's block was the last to add to, when
//                              the thread has heard that this is complete. From the second-level
//                              cache: an earlier block may have left neighbours in the first-level
//                              one before they were added to
//   count_one(count)           what the count was before it became one more; 0 at first
//   fence_async_proxy()        what the thread has written to shared memory before can be read by
//                              products and store_box after; others need a barrier besides
//
//   Barrier{array.address(i)}  an mbarrier in a SharedArray<std::uint64_t>. A phase ends when
//                              num_arrivals threads have arrived and all bytes that they expected
//                              are copied. wait(parity): until the phase of that parity has ended;
//                              on a new barrier wait(1) passes at once
//   publish_barriers()         by the thread that called init; then all have to meet
//   group_barrier(id, count)   named barrier 1 .. 15 of `count` threads
//   arrive_at_group_barrier(id, count)   counts as one of them, without waiting for the others
//
//   same_in_warp(value)        the value, which all lanes of the warp bring and have alike: the
//                              compiler then knows, and keeps what is made of it, descriptors,
//                              out of the threads' own registers
//   begin_products(registers...)   wgmma.fence; names the registers that the products will read
//   multiply(d, a, b)          d = a b by a warpgroup, operands in shared memory
//   multiply_add(d, a, b)      d += a b; a also in registers, which must not change until then
//   multiply_columns(d, a, b), multiply_add_columns(d, a, b)   d = a^T b, d += a^T b, the products'
//                              sums running across the rows of both operands in shared memory
//   multiply_add_mixed(d, a, b)   d += a b, the sums running along the rows of a and across those
//                              of b, both in shared memory
//   end_products()             makes a group of them
//   wait_for_products<n>(registers...)   until at most the n latest groups are under way; names the
//                              registers that can be used again
//   raise_registers<n>(), lower_registers<n>()   setmaxnreg, by all warps of a warpgroup
#if defined(__CUDACC__)
#include "kernels/cuda/port_hopper_device.hpp"
#else
#include "kernels/cuda/port_hopper_emulated.hpp"
#endif
