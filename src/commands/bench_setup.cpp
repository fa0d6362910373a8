#include "commands/bench_setup.hpp"

#include "base/integers.hpp"
#include "base/random.hpp"
#include "train/device_choice.hpp"
#include "train/initial_weights.hpp"

namespace espalier::commands {
namespace {

Peaks measure_peaks(parallel::MpiSession& session, device::Context& context,
                    const config::Parameters& p) {
  context.gemm().set_tuning(p.device.tune_gemm);
  Peaks peaks;
  session.world().barrier();
  peaks.flops = context.measure_gemm_peak(dtype_from_name(p.training.dtype), 1.0);
  session.world().barrier();
  peaks.bytes = measure_copy_peak(context);
  return peaks;
}

}  // namespace

BenchJob::BenchJob(parallel::MpiSession& session, const config::Parameters& p)
    : parameters(p),
      grid(train::grid_shape(p), session.rank()),
      gpu(train::choose_gpu(session, p.device)),
      context(gpu, plan::workspace_elements(p, grid, train::backend_of(gpu))),
      peaks(measure_peaks(session, context, p)),
      memory(plan::JobMemory::backed(
          p, grid, context,
          parallel::memory_for_peers(session, grid, context, train::collective_library(p.device)))),
      communicators(parallel::make_communicators(
          session, grid, narrow<int>(memory.weights->sizes().kv_replication), &context,
          train::collective_library(p.device), p.parallel.overlap_tensor)),
      transformer(memory.architecture, *memory.weights, *memory.activations, context,
                  communicators) {
  train::let_peers_reach_activations(communicators, memory.activation_arena);
  optim::Optimizer& optimizer = *memory.optimizer;
  transformer.set_before_use(
      [this](int bucket) { memory.optimizer->wait_for_weights(context, bucket); });
  train::randomize_masters(context, memory.architecture, p.training.seed, optimizer);
  optimizer.weights_from_master(context);
  optimizer.gather_weights(context, communicators);
}

data::MicroBatch random_batch(const config::Parameters& p, int data_rank) {
  const RandomStream stream(static_cast<std::uint64_t>(p.training.seed), "bench tokens");
  const std::int64_t samples = p.training.micro_batch_size;
  const std::int64_t tokens = samples * (p.training.sequence_length + 1);
  data::MicroBatch batch{
      .samples = {}, .document_positions = {}, .num_samples = samples, .num_counted = samples};
  for (std::int64_t i = 0; i < tokens; ++i) {
    const auto index = static_cast<std::uint64_t>(data_rank * tokens + i);
    const auto vocabulary = static_cast<std::uint64_t>(p.model.vocab_size);
    batch.samples.push_back(static_cast<std::uint32_t>(stream.bits(index) % vocabulary));
  }
  return batch;
}

}  // namespace espalier::commands
