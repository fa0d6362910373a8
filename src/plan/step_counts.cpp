#include "plan/step_counts.hpp"

#include <algorithm>
#include <span>
#include <vector>

#include "base/integers.hpp"
#include "base/text.hpp"
#include "model/transformer.hpp"

namespace espalier::plan {
namespace {

/// What the ranks exchange once per step beside the square sums of the gradients (train::Trainer).
constexpr std::size_t kStepScalars = 4;

model::Batch planned_batch(const config::Parameters& p) {
  const std::int64_t samples = p.training.micro_batch_size;
  const std::int64_t length = p.training.sequence_length + 1;
  const auto planned = [&](DType dtype) {
    return device::ConstView{nullptr, dtype, samples, length, length};
  };
  model::Batch batch{.samples = planned(DType::u32), .num_counted = samples};
  if (p.data.document_mask) {
    batch.document_positions = planned(DType::i32);
    batch.document_mask = true;
  }
  return batch;
}

/// train::training_step, on a batch that every micro-batch takes.
void take_step(const config::Parameters& p, device::Context& context, TrainingMemory& memory,
               parallel::GridCommunicators& communicators, model::Transformer& transformer,
               const model::Batch& batch) {
  parallel::ParameterStore& parameters = *memory.parameter_store;
  const std::int64_t micro_batches =
      div_exact(p.training.global_batch_size, p.training.micro_batch_size * p.parallel.data);
  const auto tokens = static_cast<float>(p.training.global_batch_size * p.training.sequence_length);
  for (std::int64_t micro = 0; micro < micro_batches; ++micro) {
    const bool last = micro + 1 == micro_batches;
    transformer.train(batch, 1.0F / tokens, /*first=*/micro == 0,
                      [&](int bucket) { parameters.accumulated(context, bucket, last); });
  }
  std::vector<double> scalars(kStepScalars, transformer.take_loss_sum());
  const std::span<const double> square_sums = memory.gradient_norm->square_sums(context);
  scalars.insert(scalars.end(), square_sums.begin(), square_sums.end());
  communicators.world->all_reduce_sum(scalars);
  memory.optimizer->update(
      context, p.optimizer,
      {.learning_rate = p.optimizer.learning_rate, .gradient_scale = 1.0, .step = 1},
      [](std::int64_t) {});
  parameters.begin_gather(context);
}

}  // namespace

double StepCounts::flops() const {
  double sum = 0.0;
  for (const auto& [operation, cost] : operations) sum += cost.flops;
  return sum;
}

double StepCounts::bytes() const {
  double sum = 0.0;
  for (const auto& [operation, cost] : operations) sum += cost.bytes;
  return sum;
}

std::int64_t StepCounts::sent_bytes() const {
  std::int64_t sum = 0;
  for (const auto& [group, costs] : collectives)
    for (const auto& [collective, cost] : costs) sum += cost.sent_bytes;
  return sum;
}

StepCounts count_step(const config::Parameters& p, const parallel::ProcessGrid& grid,
                      device::Backend backend, int compute_capability) {
  device::Context context(device::Context::Counting{backend});
  TrainingMemory memory = TrainingMemory::planned(p, grid, backend, compute_capability);
  parallel::GridCommunicators communicators = parallel::counting_communicators(
      grid.with(parallel::views_of(memory.architecture.num_kv_heads, grid.shape())),
      memory.parameter_store->gradient_spans(), p.parallel.overlap_tensor);
  memory.parameter_store->connect(communicators);
  model::Transformer transformer(memory.architecture, *memory.weights, *memory.activations, context,
                                 communicators);
  transformer.set_before_use([&](int bucket) { memory.parameter_store->acquire(context, bucket); });
  context.profiler().record_operations(true);
  take_step(p, context, memory, communicators, transformer, planned_batch(p));
  return {.operations = context.profiler().operations(),
          .collectives = parallel::costs_of(communicators)};
}

std::string describe(const StepCounts& counts) {
  struct Row {
    std::string name;
    device::PhaseCost cost;
  };
  std::vector<Row> rows;
  for (const auto& [operation, cost] : counts.operations) {
    std::string name(operation.name);
    if (operation.m > 0)
      name += fmt::format(" ({}, {}) ({}, {})", operation.m, operation.k, operation.k, operation.n);
    rows.push_back({std::move(name), cost});
  }
  std::stable_sort(rows.begin(), rows.end(), [](const Row& a, const Row& b) {
    return std::pair(a.cost.flops, a.cost.bytes) > std::pair(b.cost.flops, b.cost.bytes);
  });
  std::string text =
      fmt::format("{:<52} {:>7} {:>10} {:>12}\n", "operation", "calls", "GFLOP", "memory");
  for (const Row& row : rows)
    text += fmt::format("{:<52} {:>7} {:>10.3f} {:>12}\n", row.name, row.cost.calls,
                        row.cost.flops * 1e-9, human_bytes(row.cost.bytes));
  text += fmt::format("{:<52} {:>7} {:>10.3f} {:>12}\n", "all", "", counts.flops() * 1e-9,
                      human_bytes(counts.bytes()));
  for (const auto& [group, costs] : counts.collectives)
    for (const auto& [collective, cost] : costs)
      text +=
          fmt::format("{:<52} {:>7} {:>10} {:>12}\n", fmt::format("{} over {}", collective, group),
                      cost.calls, "sent", human_bytes(static_cast<double>(cost.sent_bytes)));
  return text;
}

}  // namespace espalier::plan
