#include "bench/steps.hpp"

#include <algorithm>
#include <chrono>
#include <limits>
#include <utility>

#include "train/device_choice.hpp"
#include "train/step/step.hpp"

namespace espalier::bench {
namespace {

using Clock = std::chrono::steady_clock;

}  // namespace

std::vector<double> take_steps(parallel::MpiSession& session, BenchJob& job, const StepTold& told) {
  const config::Parameters& p = job.parameters;
  const config::TrainingParameters& t = p.training;
  const parallel::ProcessGrid& grid = job.rank_context.grid;
  device::Context& context = job.rank_context.context;
  const data::MicroBatch batch = random_batch(p, grid.data_rank());
  train::StepModel model = job.model.step_model(job.rank_context);
  const bool times_passes = grid.shape().pipeline > 1 && context.on_host();
  double fastest = std::numeric_limits<double>::infinity();
  const train::StepBatches batches{
      .num_micro_batches = t.global_batch_size / (t.micro_batch_size * grid.shape().data),
      .num_targets = static_cast<std::uint64_t>(t.global_batch_size * t.sequence_length),
      .num_sequences = t.global_batch_size,
      .load = [&](std::int64_t) { return train::as_batch(batch); }};
  if (context.gpu() != nullptr) {
    train::warm_up_passes(model, train::as_batch(batch), batches.num_micro_batches);
    train::share_gemm_algorithms(session, context.gemm(), grid.shape().pipeline);
    context.use_graphs(p.device.graphs);
  }
  std::vector<double> seconds;
  for (std::int64_t step = 1; step <= p.bench.warmup_steps + p.bench.steps; ++step) {
    if (step == p.bench.warmup_steps + 1) context.profiler().reset();
    train::PassClock clock;
    model.pass_clock = times_passes ? &clock : nullptr;
    session.world().barrier();
    const auto start = Clock::now();
    const train::StepResult result = train::training_step(
        model, batches,
        {.optimizer = p.optimizer, .learning_rate = p.optimizer.learning_rate, .step = step});
    const double elapsed = std::chrono::duration<double>(Clock::now() - start).count();
    told(step, result.loss, elapsed);
    if (step <= p.bench.warmup_steps) continue;
    seconds.push_back(elapsed);
    if (!times_passes) continue;
    session.world().all_reduce_max(clock.steps);  // a step lasts until its last rank is done
    if (clock.steps.front() >= fastest) continue;
    fastest = clock.steps.front();
    job.pass_clock = std::move(clock);
  }
  return seconds;
}

double median(std::vector<double> values) {
  const auto middle = values.begin() + std::ssize(values) / 2;
  std::nth_element(values.begin(), middle, values.end());
  return *middle;
}

}  // namespace espalier::bench
