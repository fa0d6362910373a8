#include "plan/step_counts.hpp"

#include <algorithm>
#include <span>
#include <vector>

#include "base/integers.hpp"
#include "base/text.hpp"
#include "parallel/pipeline_link.hpp"
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
      grid.with(parallel::views_of(memory.architecture.num_kv_heads, grid.shape(),
                                   narrow<int>(p.parallel.expert))),
      memory.parameter_store->gradient_spans(), p.parallel.overlap_tensor);
  memory.parameter_store->connect(communicators);
  model::RankStages stages(memory.architecture, *memory.weights, *memory.activations, context,
                           communicators);
  stages.set_weight_use(*memory.parameter_store);
  parallel::CountingLink link;
  context.profiler().record_operations(true);
  const model::Batch batch = planned_batch(p);
  // With the sums travel the signals of the ranks; of a planned rank all values are 0.
  const auto exchange = [&](const train::StepSums& of_rank) {
    std::vector<double> values(1 + train::kNumStepSignals + of_rank.square_sums.size());
    of_rank.experts.append_to(values);
    communicators.world->all_reduce_sum(values);
    return train::StepSums{};
  };
  train::training_step(
      step_model(context, grid, communicators, stages, memory, &link),
      {.num_micro_batches =
           div_exact(p.training.global_batch_size, p.training.micro_batch_size * p.parallel.data),
       .num_targets =
           static_cast<std::uint64_t>(p.training.global_batch_size * p.training.sequence_length),
       .num_sequences = p.training.global_batch_size,
       .load = [&](std::int64_t) { return batch; }},
      {.optimizer = p.optimizer, .learning_rate = p.optimizer.learning_rate, .step = 1},
      {.exchange = exchange});
  // With tensor ranks a GPU asks for most weights in the next forward pass only.
  memory.parameter_store->wait_for_gathers(context);
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
