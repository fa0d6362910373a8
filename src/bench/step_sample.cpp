#include "bench/step_sample.hpp"

#include <algorithm>
#include <chrono>
#include <optional>
#include <vector>

#include "device/operation_clock.hpp"
#include "train/step/step.hpp"

namespace espalier::bench {
namespace {

using Clock = std::chrono::steady_clock;

double median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  return values.empty() ? 0.0 : values[values.size() / 2];
}

}  // namespace

StepSample sample_step(parallel::MpiSession& session, const config::Parameters& p, int warmup,
                       int steps, bool by_operation) {
  BenchJob job(session, p, Peaks{});
  device::Context& context = job.rank_context.context;
  const config::TrainingParameters& t = p.training;
  const data::MicroBatch batch = random_batch(p, job.rank_context.grid.data_rank());
  const train::StepModel model = job.model.step_model(job.rank_context);
  const train::StepBatches batches{
      .num_micro_batches = t.global_batch_size / (t.micro_batch_size * p.parallel.data),
      .num_targets = static_cast<std::uint64_t>(t.global_batch_size * t.sequence_length),
      .num_sequences = t.global_batch_size,
      .load = [&](std::int64_t) { return train::as_batch(batch); }};
  if (context.gpu() != nullptr)
    train::warm_up_passes(model, train::as_batch(batch), batches.num_micro_batches);
  StepSample sample;
  std::vector<double> seconds;
  std::map<device::Operation, std::vector<double>> by_name;
  std::array<std::vector<double>, device::kNumPhases> by_phase;
  for (int step = 1; step <= warmup + steps; ++step) {
    session.world().barrier();
    context.profiler().reset();
    context.profiler().record_operations(by_operation);
    std::optional<device::OperationClock> clock;
    if (by_operation) clock.emplace();
    const auto start = Clock::now();
    train::training_step(
        model, batches,
        {.optimizer = p.optimizer, .learning_rate = p.optimizer.learning_rate, .step = step});
    const double elapsed = std::chrono::duration<double>(Clock::now() - start).count();
    if (step <= warmup) continue;
    seconds.push_back(elapsed);
    if (clock)
      for (const auto& [operation, taken] : clock->seconds()) by_name[operation].push_back(taken);
    const auto phases = context.profiler().seconds();
    for (std::size_t i = 0; i < phases.size(); ++i) by_phase[i].push_back(phases[i]);
    sample.costs = context.profiler().operations();
  }
  sample.seconds = median(seconds);
  for (auto& [operation, taken] : by_name) sample.operation_seconds[operation] = median(taken);
  for (std::size_t i = 0; i < by_phase.size(); ++i) sample.phase_seconds[i] = median(by_phase[i]);
  return sample;
}

}  // namespace espalier::bench
