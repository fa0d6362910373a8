#pragma once
#include <cstdint>
#include <string>
#include <vector>

#include "plan/memory_plan.hpp"

namespace espalier::plan {

/// A change of the parameters, and what a rank would need with it.
struct Alternative {
  std::string change;  ///< "training.micro_batch_size = 2"
  std::int64_t total_bytes;
};

/// The memory that a plan must fit into.
struct Room {
  device::Backend backend;
  std::int64_t free_bytes;
  std::string whose;           ///< "GPU 0 (NVIDIA H100 80GB HBM3) has 78.9 GiB free of 79.1 GiB"
  int compute_capability = 0;  ///< 0: not known
  bool has_context = true;     ///< whether CUDA's context of this rank is in it already
};
/// About what a rank's libraries take beside the plan; 0 where no CUDA is.
///   code that is loaded when it is first used (cuBLASLt, NCCL, cuDNN, kernels): 256 MiB, a guess
///   CUDA's context, where free_bytes still has it: 512 MiB, a guess
///   NCCL, per communicator of more than one rank: 32 channels of 9.2 MiB, the buffers of its three
///     protocols as NCCL's src/init.cc sizes them unless NCCL_BUFFSIZE and its like are set
std::int64_t library_bytes(const config::Parameters& parameters, const parallel::GridShape& shape,
                           const Room& room);

/// What makes the training plan of this rank smaller, the least costly first: ZeRO where it is off,
/// stronger modes of memory.recompute, smaller micro-batches, both, more tensor ranks. Of
/// micro-batches and tensor sizes it names the first that fits into `room`, else the last there is.
/// All of them resolve.
std::vector<Alternative> alternatives(const config::Parameters& parameters,
                                      const parallel::ProcessGrid& grid, const Room& room);

/// What `gpu` has free, and `taken_bytes` that are part of the plan already.
Room room_of(const device::Gpu& gpu, std::int64_t taken_bytes = 0);
/// device.memory_gib, for a plan that is made where the GPU is not.
Room room_of(const config::DeviceParameters& parameters);

/// Empty when the plan of this rank fits; else the plan's lines, what is free, and the alternatives
/// with their totals.
std::string why_not_fitting(const config::Parameters& parameters, const parallel::ProcessGrid& grid,
                            const Room& room);

/// Whether a training run on `shape` fits, for --dry-run: the rank that needs most decides.
std::string describe_fit(const config::Parameters& parameters, const parallel::GridShape& shape,
                         const Room& room);

}  // namespace espalier::plan
