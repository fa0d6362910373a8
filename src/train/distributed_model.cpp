#include "train/distributed_model.hpp"

#include "base/integers.hpp"
#include "base/log.hpp"
#include "train/device_choice.hpp"

namespace espalier::train {

parallel::GridShape grid_shape(const config::Parameters& parameters) {
  return {.tensor = narrow<int>(parameters.parallel.tensor),
          .context = narrow<int>(parameters.parallel.context),
          .data = narrow<int>(parameters.parallel.data),
          .pipeline = narrow<int>(parameters.parallel.pipeline)};
}

RankContext::RankContext(parallel::MpiSession& session, const config::Parameters& p)
    : grid(grid_shape(p), session.rank(),
           parallel::views_of(p.model.num_key_value_heads, grid_shape(p))),
      gpu(choose_gpu(session, p.device)),
      context(gpu, plan::workspace_elements(p, grid, backend_of(gpu))) {
  context.gemm().set_tuning(p.device.tune_gemm);
  require_same_products(session, context.gemm());
}

void log_devices(parallel::MpiSession& session, const RankContext& rank_context) {
  if (rank_context.gpu != nullptr)
    log::info("device: {}\n{}", rank_context.context.describe(),
              describe_devices(session, rank_context.gpu));
}

double measure_gemm_peak(parallel::MpiSession& session, RankContext& rank_context,
                         const config::Parameters& p, double seconds) {
  session.world().barrier();
  return rank_context.context.measure_gemm_peak(dtype_from_name(p.training.dtype), seconds);
}

DistributedModel::DistributedModel(parallel::MpiSession& session, const config::Parameters& p,
                                   RankContext& rank_context)
    : memory(plan::TrainingMemory::backed(
          p, rank_context.grid, rank_context.context,
          parallel::registered_memory(session, rank_context.grid, rank_context.context,
                                      collective_library(p.device)))),
      communicators(parallel::make_communicators(
          session, rank_context.grid, memory.parameter_store->gradient_spans(),
          &rank_context.context, collective_library(p.device), p.parallel.overlap_tensor)),
      stage(memory.architecture, *memory.weights, *memory.activations, rank_context.context,
            communicators) {
  memory.parameter_store->connect(communicators);
  register_activations(communicators, memory.activation_arena);
  stage.set_weight_use(*memory.parameter_store);
}

}  // namespace espalier::train
