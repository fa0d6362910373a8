#include "plan/step_counts.hpp"

#include <algorithm>
#include <span>
#include <vector>

#include "base/integers.hpp"
#include "base/text.hpp"
#include "model/stage.hpp"
#include "train/step/step.hpp"

namespace espalier::plan {
namespace {

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

/// The step with so many micro-batches, each of them taken.
StepCounts take_step(const config::Parameters& p, const parallel::ProcessGrid& grid,
                     device::Backend backend, int compute_capability,
                     std::int64_t num_micro_batches) {
  device::Context context(device::Context::Counting{backend});
  TrainingMemory memory = TrainingMemory::planned(p, grid, backend, compute_capability);
  parallel::GridCommunicators communicators = parallel::counting_communicators(
      grid.with(parallel::views_of(memory.architecture.num_kv_heads, grid.shape())),
      memory.parameter_store->gradient_spans(), p.parallel.overlap_tensor);
  memory.parameter_store->connect(communicators);
  model::Stage stage(memory.architecture, *memory.weights, *memory.activations, context,
                     communicators);
  stage.set_weight_use(*memory.parameter_store);
  context.profiler().record_operations(true);
  const model::Batch batch = planned_batch(p);
  // With the sums travel the signals of the ranks; of a planned rank all values are 0.
  const auto exchange = [&](const train::StepSums& of_rank) {
    std::vector<double> values(1 + train::kNumStepSignals + of_rank.square_sums.size());
    communicators.world->all_reduce_sum(values);
    return train::StepSums{};
  };
  train::training_step(
      step_model(context, grid, communicators, stage, memory),
      {.num_micro_batches = num_micro_batches,
       .num_targets =
           static_cast<std::uint64_t>(p.training.global_batch_size * p.training.sequence_length),
       .load = [&](std::int64_t) { return batch; }},
      {.optimizer = p.optimizer, .learning_rate = p.optimizer.learning_rate, .step = 1},
      {.exchange = exchange});
  return {.operations = context.profiler().operations(),
          .collectives = parallel::costs_of(communicators)};
}

/// What `three` has more than `two`, `times` more.
void add_difference(StepCounts& counts, const StepCounts& two, const StepCounts& three,
                    std::int64_t times) {
  for (auto& [operation, cost] : counts.operations) {
    const device::PhaseCost& less = two.operations.at(operation);
    const device::PhaseCost& more = three.operations.at(operation);
    cost.calls += times * (more.calls - less.calls);
    cost.flops += static_cast<double>(times) * (more.flops - less.flops);
    cost.bytes += static_cast<double>(times) * (more.bytes - less.bytes);
  }
  for (auto& [group, costs] : counts.collectives)
    for (auto& [collective, cost] : costs) {
      const parallel::CollectiveCost& less = two.collectives.at(group).at(collective);
      const parallel::CollectiveCost& more = three.collectives.at(group).at(collective);
      cost.calls += times * (more.calls - less.calls);
      cost.bytes += times * (more.bytes - less.bytes);
      cost.sent_bytes += times * (more.sent_bytes - less.sent_bytes);
    }
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
  const auto take = [&](std::int64_t num_micro_batches) {
    return take_step(p, grid, backend, compute_capability, num_micro_batches);
  };
  const std::int64_t num =
      div_exact(p.training.global_batch_size, p.training.micro_batch_size * p.parallel.data);
  // The first of a step replaces the gradients, and with the last they are summed over the ranks:
  // those between are alike.
  if (num <= 4) return take(num);
  const StepCounts two = take(2);
  StepCounts counts = take(3);
  const StepCounts three = counts;
  add_difference(counts, two, three, num - 3);
  return counts;
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
