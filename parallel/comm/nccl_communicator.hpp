#pragma once
#include <memory>
#include <string>

#include "device/gpu.hpp"
#include "device/queue.hpp"
#include "parallel/comm/communicator.hpp"

namespace espalier::parallel {

/// Empty when NCCL can be used here; else why not: "this program was built without NCCL", what the
/// loader says about libnccl.so.2, or that it is older than 2.26. Loads the library.
std::string why_no_nccl();
/// "2.27.3"; empty where it cannot be used.
std::string nccl_version();

/// A communicator over NCCL for memory of `gpu`, one rank per GPU; `host` itself when it has only
/// one rank. Collective over the group that `host` joins, which stays for values and texts of the
/// host. `group_name` is its name in messages: "data". It is for collectives or, with
/// `exchanges_rows`, for exchange_rows: the ranks are connected for these on return, which NCCL
/// would else do when they first talk, with what memory is left then.
///
/// Collectives are put into `stream` and return: what they leave is there once the stream has come
/// past them, and they come after what the stream has so far. Sums are NCCL's ring (NCCL_ALGO=Ring
/// unless the user says otherwise): the same bits from run to run on the same machine and grid, but
/// in the ring's order, and bf16 rounded at each rank. In registered memory they are taken in fp32
/// and rounded once, in an order of the ranks. The switch's own sums are off (NCCL_NVLS_ENABLE=0
/// unless the user says otherwise): they differ from call to call on Hopper (NCCL issue 1497). The
/// others of the contract hold. A group that spans several tensor groups is summed in the ring's
/// order, too, and not within each of them first.
///
/// Throws Error (bad_configuration) when NCCL cannot be had, two ranks of the group share a GPU, or
/// NCCL finds no memory. A call that fails otherwise is Error (internal) with call, rank, GPU and
/// NCCL's words. A failure that shows later, such as a peer that is gone, is found by a thread that
/// looks once a second, says so and ends the job: the stream would never come past it, and
/// MPI_Abort from that thread, which MPI_THREAD_FUNNELED does not provide for, loses nothing that
/// could still be saved.
///
/// Several communicators of one GPU may run at the same time because all are called from one thread
/// in the same order on every rank (NCCL_LAUNCH_ORDER_IMPLICIT, since NCCL 2.26).
std::unique_ptr<Communicator> make_nccl_communicator(std::unique_ptr<Communicator> host,
                                                     std::shared_ptr<device::Gpu> gpu,
                                                     device::Stream stream, std::string group_name,
                                                     bool exchanges_rows = false);

/// Memory for register_with_nccl on the calling thread's GPU, not zeroed; null without NCCL or
/// where it cannot be had.
void* allocate_for_nccl(std::int64_t bytes);
void release_for_nccl(void* memory) noexcept;

/// Makes memory known to a communicator of make_nccl_communicator, so that peers reach it directly:
/// of use to collectives that are not in a group, as the tensor group has them, on one node.
/// `memory` is all of what allocate_for_nccl gave, and none where it gave none. The buffers of a
/// collective then lie at the same offset in it on every rank: out-of-place alone is allowed to
/// all_gather and reduce_scatter_sum there. Collective; stays until the communicator goes, and so
/// must the memory. False when a rank has no memory or another size of it, or when the library
/// (before 2.27) or the communicator cannot, and then nothing has changed.
bool register_with_nccl(Communicator& communicator, device::View memory);

}  // namespace espalier::parallel
