#include "plan/counted_rank.hpp"

#include "base/integers.hpp"
#include "train/step/programs.hpp"

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

CountedRank::CountedRank(const config::Parameters& parameters, const parallel::ProcessGrid& place,
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

train::StepModel CountedRank::step_model() {
  return plan::step_model(context, grid, communicators, stages, memory, &link);
}

train::StepBatches CountedRank::batches() const {
  return {.num_micro_batches = train::num_micro_batches(p, grid.shape()),
          .num_targets =
              static_cast<std::uint64_t>(p.training.global_batch_size * p.training.sequence_length),
          .num_sequences = p.training.global_batch_size,
          .load = [this](std::int64_t) { return batch; }};
}

void CountedRank::take_pass(const train::StepModel& model, const pipeline::Step& step) const {
  train::take_pass(model, step, [&] { return batch; },
                   {.loss_scale = 1.0F,
                    .first = step.action.micro_batch == 0,
                    .last = false,
                    .bucket_done = [](int) {},
                    .num_sequences = static_cast<double>(p.training.global_batch_size)});
}

void CountedRank::take_step() {
  // With the sums travel the signals of the ranks; of a planned rank all values are 0.
  const auto exchange = [&](const train::StepSums& of_rank) {
    std::vector<double> values(1 + train::kNumStepSignals + of_rank.square_sums.size());
    of_rank.experts.append_to(values);
    communicators.world->all_reduce_sum(values);
    return train::StepSums{};
  };
  train::training_step(
      step_model(), batches(),
      {.optimizer = p.optimizer, .learning_rate = p.optimizer.learning_rate, .step = 1},
      {.exchange = exchange});
  // With tensor ranks a GPU asks for most weights in the next forward pass only.
  memory.parameter_store->wait_for_gathers(context);
}

StepCounts CountedRank::so_far() {
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

}  // namespace espalier::plan
