#include "plan/step_counts.hpp"

#include <algorithm>
#include <span>
#include <vector>

#include "base/integers.hpp"
#include "base/text.hpp"
#include "config/grid.hpp"
#include "parallel/pipeline_link.hpp"
#include "train/step/programs.hpp"
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

namespace {

/// A rank of a grid that is only counted.
struct CountedRank {
  CountedRank(const config::Parameters& parameters, const parallel::ProcessGrid& place,
              device::Backend backend, int compute_capability)
      : p(parameters),
        grid(place),
        context(device::Context::Counting{backend}),
        memory(TrainingMemory::planned(p, grid, backend, compute_capability)),
        communicators(parallel::counting_communicators(
            grid.with(parallel::views_of(memory.architecture.num_kv_heads, grid.shape(),
                                         narrow<int>(p.parallel.expert))),
            memory.parameter_store->gradient_spans(), p.parallel.overlap_tensor)),
        stages(memory.architecture, *memory.weights, *memory.activations, context, communicators),
        batch(planned_batch(p)) {
    memory.parameter_store->connect(communicators);
    stages.set_weight_use(*memory.parameter_store);
    context.profiler().record_operations(true);
  }

  train::StepModel step_model() {
    return plan::step_model(context, grid, communicators, stages, memory, &link);
  }
  train::StepBatches batches() const {
    return {.num_micro_batches = train::num_micro_batches(p, grid.shape()),
            .num_targets = static_cast<std::uint64_t>(p.training.global_batch_size *
                                                      p.training.sequence_length),
            .num_sequences = p.training.global_batch_size,
            .load = [this](std::int64_t) { return batch; }};
  }
  StepCounts so_far() {
    StepCounts counts{.operations = context.profiler().operations(),
                      .collectives = parallel::costs_of(communicators)};
    for (const auto& [key, cost] : link.sent()) {
      parallel::CollectiveCost& sum = counts.collectives["pipeline"]["messages"];
      sum.calls += cost.messages;
      sum.bytes += cost.bytes;
      sum.sent_bytes += cost.bytes;
    }
    return counts;
  }

  config::Parameters p;
  parallel::ProcessGrid grid;
  device::Context context;
  TrainingMemory memory;
  parallel::GridCommunicators communicators;
  model::RankStages stages;
  parallel::CountingLink link;
  model::Batch batch;
};

/// A step of as few micro-batches as the schedule allows, a second one among them where there is
/// one: the first replaces what gradients hold.
config::Parameters with_few_micro_batches(config::Parameters p, const parallel::GridShape& shape) {
  const std::int64_t all = train::num_micro_batches(p, shape);
  const std::int64_t unit = p.training.micro_batch_size * shape.data;
  for (std::int64_t few = std::min<std::int64_t>(2, all); few < all; ++few) {
    p.training.global_batch_size = few * unit;
    const pipeline::ScheduleKind kind = pipeline::schedule_from_name(p.parallel.schedule);
    const pipeline::PipelineShape pipeline{.ranks = shape.pipeline,
                                           .micro_batches = narrow<int>(few),
                                           .chunks = config::num_chunks(p.parallel)};
    if (shape.pipeline == 1 || pipeline::misfit_of(kind, pipeline).none()) return p;
  }
  p.training.global_batch_size = all * unit;
  return p;
}

/// By chunk, the micro-batch that shows what its passes take: one whose backward pass is divided
/// where the schedule divides some, and, of several, not the first one, whose gradients replace
/// what is there.
std::vector<int> shown_micro_batches(const pipeline::RankProgram& program,
                                     const pipeline::Placement& placement, std::size_t chunks) {
  std::vector<int> shown(chunks, -1);
  for (const bool divided : {true, false})
    for (const bool later : {true, false})
      for (const pipeline::Step& step : program.steps) {
        if (step.kind != pipeline::StepKind::compute) continue;
        const pipeline::Action& a = step.action;
        const bool fits = divided ? a.kind == pipeline::ActionKind::backward_inputs
                                  : a.kind == pipeline::ActionKind::backward;
        int& micro = shown[static_cast<std::size_t>(placement.chunk_of(a.stage))];
        if (micro < 0 && fits && (a.micro_batch > 0) == later) micro = a.micro_batch;
      }
  return shown;
}

}  // namespace

StepCounts count_step(const config::Parameters& p, const parallel::ProcessGrid& grid,
                      device::Backend backend, int compute_capability) {
  CountedRank rank(p, grid, backend, compute_capability);
  // With the sums travel the signals of the ranks; of a planned rank all values are 0.
  const auto exchange = [&](const train::StepSums& of_rank) {
    std::vector<double> values(1 + train::kNumStepSignals + of_rank.square_sums.size());
    of_rank.experts.append_to(values);
    rank.communicators.world->all_reduce_sum(values);
    return train::StepSums{};
  };
  train::training_step(
      rank.step_model(), rank.batches(),
      {.optimizer = p.optimizer, .learning_rate = p.optimizer.learning_rate, .step = 1},
      {.exchange = exchange});
  // With tensor ranks a GPU asks for most weights in the next forward pass only.
  rank.memory.parameter_store->wait_for_gathers(rank.context);
  return rank.so_far();
}

void add(StepCounts& sum, const StepCounts& counts, std::int64_t factor) {
  for (const auto& [operation, cost] : counts.operations) {
    device::PhaseCost& to = sum.operations[operation];
    to.flops += static_cast<double>(factor) * cost.flops;
    to.bytes += static_cast<double>(factor) * cost.bytes;
    to.calls += factor * cost.calls;
  }
  for (const auto& [group, costs] : counts.collectives)
    for (const auto& [collective, cost] : costs) {
      parallel::CollectiveCost& to = sum.collectives[group][collective];
      to.calls += factor * cost.calls;
      to.bytes += factor * cost.bytes;
      to.sent_bytes += factor * cost.sent_bytes;
    }
}

StepCounts difference(const StepCounts& counts, const StepCounts& other) {
  StepCounts result = counts;
  add(result, other, -1);
  return result;
}

void drop_empty(StepCounts& counts) {
  const auto is_empty = [](const auto& entry) { return entry.second == decltype(entry.second){}; };
  std::erase_if(counts.operations, is_empty);
  for (auto& [group, costs] : counts.collectives) std::erase_if(costs, is_empty);
  std::erase_if(counts.collectives, [](const auto& entry) { return entry.second.empty(); });
}

RankCounts count_rank(const config::Parameters& parameters, const parallel::ProcessGrid& grid,
                      device::Backend backend, int compute_capability) {
  const config::Parameters p = with_few_micro_batches(parameters, grid.shape());
  CountedRank rank(p, grid, backend, compute_capability);
  const train::StepModel model = rank.step_model();
  const std::int64_t counted = rank.batches().num_micro_batches;
  RankCounts result;
  result.chunks.resize(rank.memory.activations->chunks.size());
  const std::vector<int> shown =
      shown_micro_batches(rank.memory.program, model.part.placement, result.chunks.size());
  train::play(rank.context, model.part, [&](const pipeline::Step& step) {
    const pipeline::Action& a = step.action;
    const auto chunk = static_cast<std::size_t>(model.part.placement.chunk_of(a.stage));
    const StepCounts before = rank.so_far();
    train::take_pass(model, step, [&] { return rank.batch; },
                     {.loss_scale = 1.0F,
                      .first = a.micro_batch == 0,
                      .last = false,
                      .bucket_done = [](int) {},
                      .num_sequences = static_cast<double>(rank.batches().num_sequences)});
    const bool stands_for_all = a.micro_batch == std::min<std::int64_t>(1, counted - 1);
    if (!stands_for_all && a.micro_batch != shown[chunk]) return;
    const StepCounts pass = difference(rank.so_far(), before);
    if (stands_for_all) add(result.micro_batch, pass, 1);
    if (a.micro_batch != shown[chunk]) return;
    PassCounts& of_chunk = result.chunks[chunk];
    StepCounts& to = is_forward(a)              ? of_chunk.forward
                     : makes_input_gradients(a) ? of_chunk.inputs
                                                : of_chunk.weights;
    to = pass;
    drop_empty(to);
  });
  // What is left of a step: its messages are the micro-batches', too.
  result.once = count_step(p, grid, backend, compute_capability);
  if (const auto messages = result.once.collectives.find("pipeline");
      messages != result.once.collectives.end()) {
    parallel::CollectiveCost each = messages->second.begin()->second;
    each.calls /= counted;
    each.bytes /= counted;
    each.sent_bytes /= counted;
    parallel::CollectiveCosts& of_micro_batch = result.micro_batch.collectives["pipeline"];
    of_micro_batch.clear();
    of_micro_batch["messages"] = each;
  }
  add(result.once, result.micro_batch, -counted);
  drop_empty(result.once);
  drop_empty(result.micro_batch);
  return result;
}

StepCounts RankCounts::at(std::int64_t micro_batches) const {
  StepCounts sum = once;
  add(sum, micro_batch, micro_batches);
  drop_empty(sum);
  return sum;
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
