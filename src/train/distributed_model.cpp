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

Worker::Worker(parallel::MpiSession& session, const config::Parameters& p)
    : grid(grid_shape(p), session.rank()),
      gpu(choose_gpu(session, p.device)),
      context(gpu, plan::workspace_elements(p, grid, backend_of(gpu))) {
  context.gemm().set_tuning(p.device.tune_gemm);
  require_same_products(session, context.gemm());
}

void log_devices(parallel::MpiSession& session, const Worker& worker) {
  if (worker.gpu != nullptr)
    log::info("device: {}\n{}", worker.context.describe(), describe_devices(session, worker.gpu));
}

double measure_gemm_peak(parallel::MpiSession& session, Worker& worker, const config::Parameters& p,
                         double seconds) {
  session.world().barrier();
  return worker.context.measure_gemm_peak(dtype_from_name(p.training.dtype), seconds);
}

DistributedModel::DistributedModel(parallel::MpiSession& session, const config::Parameters& p,
                                   Worker& worker)
    : memory(
          plan::JobMemory::backed(p, worker.grid, worker.context,
                                  parallel::memory_for_peers(session, worker.grid, worker.context,
                                                             collective_library(p.device)))),
      communicators(parallel::make_communicators(
          session, worker.grid, narrow<int>(memory.weights->sizes().kv_replication),
          &worker.context, collective_library(p.device), p.parallel.overlap_tensor)),
      transformer(memory.architecture, *memory.weights, *memory.activations, worker.context,
                  communicators) {
  let_peers_reach_activations(communicators, memory.activation_arena);
  transformer.set_before_use([this, &context = worker.context](int bucket) {
    memory.optimizer->wait_for_weights(context, bucket);
  });
}

}  // namespace espalier::train
