#include "train/distributed_model.hpp"

#include <array>

#include "base/log.hpp"
#include "config/grid.hpp"
#include "parallel/comm/nccl_communicator.hpp"
#include "plan/recompute_budget.hpp"
#include "train/device_choice.hpp"

namespace espalier::train {

RankContext::RankContext(parallel::MpiSession& session, const config::Parameters& p)
    : grid(config::process_grid(p, session.rank())),
      gpu(choose_gpu(session, p.device)),
      context(gpu, plan::workspace_elements(p, grid, backend_of(gpu))) {
  context.gemm().set_tuning(p.device.tune_gemm);
  require_same_products(session, context.gemm());
}

void log_devices(parallel::MpiSession& session, const RankContext& rank_context,
                 const config::DeviceParameters& parameters) {
  if (rank_context.gpu == nullptr) return;
  log::info("device: {}\n{}", rank_context.context.describe(),
            describe_devices(session, rank_context.gpu));
  if (session.size() == 1) return;
  const auto library = collective_library(parameters);
  const std::string why = parallel::why_not_nccl(session, *rank_context.gpu, library);
  if (why.empty())
    log::info("collectives of GPU memory: NCCL {}", parallel::nccl_version());
  else if (library == parallel::CollectiveLibrary::automatic &&
           rank_context.gpu->backend() == device::Backend::cuda)
    log::warn("collectives of GPU memory go through host memory, which is slow: {}", why);
  else
    log::info("collectives of GPU memory go through host memory: {}", why);
}

double measure_gemm_peak(parallel::MpiSession& session, RankContext& rank_context,
                         const config::Parameters& p, double seconds) {
  session.world().barrier();
  return rank_context.context.measure_gemm_peak(dtype_from_name(p.training.dtype), seconds);
}

config::Parameters with_memory_settled(parallel::MpiSession& session, const config::Parameters& p,
                                       const RankContext& rank_context) {
  const bool on_host = rank_context.gpu == nullptr;
  if (on_host && p.device.memory_gib <= 0.0) return p;
  const parallel::ProcessGrid& grid = rank_context.grid;
  plan::Room room = on_host ? plan::room_of(p.device, device::Backend::host)
                            : plan::room_of(p, grid, *rank_context.gpu);
  if (p.memory.recompute == "budget") {
    std::array<double, 1> least{static_cast<double>(room.free_bytes)};
    session.world().all_reduce_min(least);
    room.free_bytes = static_cast<std::int64_t>(least[0]);
  }
  const config::Parameters settled = plan::with_recompute_chosen(p, grid.shape(), room);
  // The banner could not know the plan before the GPUs were opened.
  if (plan::is_budget_open(p) && p.device.memory_gib <= 0.0)
    log::info("{}", plan::describe_memory_plan(settled, grid.shape(), room.backend));
  if (p.memory.recompute == "budget")
    log::info("{}", plan::describe_recompute(settled, grid.shape(), room));
  if (on_host) {
    // Every rank holds the one that needs most against it: all of them stop, or none.
    const int largest = plan::largest_rank(settled, grid.shape(), room);
    const std::string why = plan::why_not_fitting(p, {grid.shape(), largest}, room);
    if (!why.empty()) throw Error(ExitStatus::bad_configuration, why, Met::by_every_rank);
  }
  return settled;
}

DistributedModel::DistributedModel(parallel::MpiSession& session, const config::Parameters& p,
                                   RankContext& rank_context)
    : memory(plan::TrainingMemory::backed(
          with_memory_settled(session, p, rank_context), rank_context.grid, rank_context.context,
          parallel::registered_memory(session, rank_context.grid, rank_context.context,
                                      collective_library(p.device)))),
      communicators(parallel::make_communicators(
          session, rank_context.grid, memory.parameter_store->gradient_spans(),
          &rank_context.context, collective_library(p.device), p.parallel.overlap_tensor)),
      link(rank_context.grid.shape().pipeline == 1
               ? nullptr
               : parallel::make_pipeline_link(session, rank_context.grid,
                                              memory.assignment.placement, rank_context.context,
                                              collective_library(p.device))),
      stages(memory.architecture, *memory.weights, *memory.activations, rank_context.context,
             communicators) {
  memory.parameter_store->connect(communicators);
  register_activations(communicators, memory.activation_arena);
  stages.set_weight_use(*memory.parameter_store);
  if (link == nullptr || rank_context.gpu != nullptr) return;
  // MPI may need the sender again before a long message goes, and it computes by then. What a GPU's
  // link sends has left when it was posted.
  stages.set_between_blocks([this, &context = rank_context.context] {
    const auto phase = context.profiler().scope(device::Phase::pipeline_communication);
    link->progress();
  });
}

StepModel DistributedModel::step_model(RankContext& rank_context) {
  return plan::step_model(rank_context.context, rank_context.grid, communicators, stages, memory,
                          link.get());
}

}  // namespace espalier::train
