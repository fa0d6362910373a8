#pragma once
#include <mpi.h>

#include <memory>

#include "parallel/pipeline_link.hpp"

namespace espalier::parallel {

/// Link over NCCL for memory of `gpu`, one rank per GPU. Takes `ranks`, those along the pipeline in
/// its order, over and frees it when the communicators are made. Collective over it.
///
/// For each direction and stage that takes messages in from another rank there is a communicator of
/// the two, with a stream of its own: in it a message waits for what the compute stream had when it
/// was posted, and the compute stream waits for it where it is waited for; the host waits for
/// nothing. A receive that is posted occupies a few multiprocessors until the message comes.
///
/// NCCL launches what several communicators of a GPU are given in the order of the calls. From CUDA
/// 12.3 on a call only waits until the one before it has begun; with an older driver it would wait
/// until that has ended, which may need this rank: then it throws Error (bad_configuration), as it
/// does where NCCL cannot be had. A call that fails, at once or later: as make_nccl_communicator.
std::unique_ptr<PipelineLink> make_nccl_pipeline_link(MPI_Comm ranks,
                                                      const pipeline::Placement& placement,
                                                      std::shared_ptr<device::Gpu> gpu,
                                                      device::Stream compute);

}  // namespace espalier::parallel
