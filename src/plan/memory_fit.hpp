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
/// About what a rank takes beside the plan (library_lines says it by name). On the host:
///   the program and its libraries: 64 MiB, and for fp32 what oneDNN takes for its products:
///     32 MiB, both measured (validation/planned_memory)
///   staging of collectives, with more than one rank: at most 16 MiB
///   where products of bf16 widen their operands: Gemm::host_scratch_bytes
/// On a GPU (nothing on the emulated one):
///   code that is loaded when it is first used (cuBLASLt, NCCL, cuDNN, kernels): 256 MiB, a guess
///   CUDA's context, where free_bytes still has it: 512 MiB, a guess
///   NCCL, per communicator of more than one rank: 32 channels of 9.2 MiB, and 4 channels for each
///     link of a pipeline, four for every chunk of a rank: the buffers of its three
///     protocols as NCCL's src/init.cc sizes them unless NCCL_BUFFSIZE and its like are set; for
///     the expert group 12 MiB for each channel to each other rank of it on the node, 32 where
///     NVLink joins them, and 4 in a group that spans nodes
std::int64_t library_bytes(const config::Parameters& parameters, const parallel::GridShape& shape,
                           const Room& room);
/// The parts of library_bytes by name; what no plan can know says that it is a guess.
std::vector<TrainingMemory::Line> library_lines(const config::Parameters& parameters,
                                                const parallel::GridShape& shape, const Room& room);
/// Whether updates go on while a checkpoint is written, and do not wait for it.
bool saves_copy(const config::CheckpointParameters& parameters);
/// What a save may copy into host memory at most: the optimizer's state, if updates go on while it
/// is written (checkpoint.interval or interval_minutes, with checkpoint.staging = "copy"); else 0.
std::int64_t save_copy_bytes(const config::Parameters& parameters, const TrainingMemory& memory);
/// All that must fit into `room`: the plan, what the libraries take and, on the host, a save's
/// copies.
std::int64_t needed_bytes(const config::Parameters& parameters, const parallel::GridShape& shape,
                          const TrainingMemory& memory, const Room& room);

/// What makes the training plan of this rank smaller, the least costly first: ZeRO where it is off,
/// no copies for a save on the host, the cheapest mix of modes of memory.recompute if one fits,
/// its stronger modes, shorter pieces of the loss, smaller micro-batches, both, more tensor ranks,
/// and more data ranks if they suffice. Of micro-batches, tensor and data sizes it names the first
/// that fits into `room`, else the last there is. All of them resolve.
std::vector<Alternative> alternatives(const config::Parameters& parameters,
                                      const parallel::ProcessGrid& grid, const Room& room);

/// What `gpu` has free, and `taken_bytes` that are part of the plan already.
Room room_of(const device::Gpu& gpu, std::int64_t taken_bytes = 0);
/// What a rank that has taken only its Context may take of its GPU: what is free there, and no more
/// than device.memory_gib where that is given.
Room room_of(const config::Parameters& parameters, const parallel::ProcessGrid& grid,
             const device::Gpu& gpu);
/// device.memory_gib, for a plan that is made where the GPU is not, or for the host.
Room room_of(const config::DeviceParameters& parameters,
             device::Backend backend = device::Backend::cuda);

/// Empty when the plan of this rank fits; else the plan's lines, what is free, and the alternatives
/// with what they need and save. memory.recompute = "budget" means the choice for `room`.
std::string why_not_fitting(const config::Parameters& parameters, const parallel::ProcessGrid& grid,
                            const Room& room);

/// "what would help:" and a line for each: the change, what is needed then, and what it saves of
/// `needed_bytes`.
std::string describe_alternatives(const std::vector<Alternative>& list, std::int64_t needed_bytes,
                                  const Room& room);
/// The rank that needs most.
int largest_rank(const config::Parameters& parameters, const parallel::GridShape& shape,
                 const Room& room);
/// Whether a training run on `shape` fits, for --dry-run: the rank that needs most decides.
std::string describe_fit(const config::Parameters& parameters, const parallel::GridShape& shape,
                         const Room& room);

}  // namespace espalier::plan
