// What a planned step counts is what a real one does.
#include <catch2/catch.hpp>

#include "mpi/model/model_on_grid.hpp"
#include "plan/step_counts.hpp"

namespace espalier {
namespace {

using testing::Hdf5Fixture;
using testing::ModelOnGrid;

/// One step of the fixture's model with micro-batches of one sequence, counted while it is made.
plan::StepCounts counts_of_real_step(const Hdf5Fixture& fixture, const config::Parameters& p) {
  ModelOnGrid model(p, testing::gpu_of_test());
  model.stage.set_weight_use(*model.memory.parameter_store);
  std::vector<std::int64_t> sent;
  const auto each = [&](auto&& body) {
    const auto with = [&](const std::unique_ptr<parallel::Communicator>& group) {
      if (group != nullptr) body(dynamic_cast<parallel::CountingCommunicator&>(*group));
    };
    with(model.communicators.tensor);
    with(model.communicators.tensor_overlap);
    for (const auto& [span, group] : model.communicators.gradients) with(group);
    with(model.communicators.world);
  };
  std::int64_t before = 0, after = 0;
  each([&](auto& group) {
    group.reset();
    before += group.bytes_sent();
  });
  const auto numbers = fixture.words("tokens");
  const std::int64_t length = p.training.sequence_length + 1;
  std::vector<std::int32_t> places(static_cast<std::size_t>(length));
  for (std::size_t s = 0; s < places.size(); ++s) places[s] = static_cast<std::int32_t>(s % 10);
  model::Batch batch{.samples = device::view_of(numbers.data(), 1, length), .num_counted = 1};
  if (p.data.document_mask) {
    batch.document_mask = true;
    batch.document_positions = device::view_of(places.data(), 1, length);
  }
  model.context.profiler().reset();
  model.context.profiler().record_operations(true);
  // As the trainer exchanges them: with what the ranks say of stopping and saving.
  const auto exchange = [&](const train::StepSums& of_rank) {
    std::vector<double> scalars(1 + train::kNumStepSignals);
    scalars[0] = train::loss_share(model.grid, of_rank.loss);
    scalars.insert(scalars.end(), of_rank.square_sums.begin(), of_rank.square_sums.end());
    of_rank.experts.append_to(scalars);
    model.communicators.world->all_reduce_sum(scalars);
    const auto norms = scalars.begin() + 1 + train::kNumStepSignals;
    return train::StepSums{.loss = scalars[0],
                           .square_sums = {norms, norms + std::ssize(of_rank.square_sums)}};
  };
  model.step({.num_micro_batches = 2,
              .num_targets = 48,
              .num_sequences = p.training.global_batch_size,
              .load = [&](std::int64_t) { return batch; }},
             /*step=*/1, {.exchange = exchange});
  each([&](auto& group) { after += group.bytes_sent(); });
  const plan::StepCounts counts{.operations = model.context.profiler().operations(),
                                .collectives = parallel::costs_of(model.communicators)};
  // MPI's own count of what went out.
  if (model.gpu == nullptr) CHECK(counts.sent_bytes() == after - before);
  return counts;
}

void check(const Hdf5Fixture& fixture, config::Parameters p) {
  p.training.micro_batch_size = 1;
  p.training.global_batch_size = 2 * p.parallel.data;
  INFO("tensor " << p.parallel.tensor << ", data " << p.parallel.data << ", sequence parallel "
                 << p.parallel.sequence_parallel << ", zero " << p.parallel.zero_stage << ", "
                 << p.memory.recompute << ", " << p.training.dtype << ", " << p.model.model_type);
  const auto gpu = testing::gpu_of_test();
  const parallel::ProcessGrid grid(
      {.tensor = static_cast<int>(p.parallel.tensor), .data = static_cast<int>(p.parallel.data)},
      testing::session().rank());
  const plan::StepCounts planned =
      plan::count_step(p, grid, gpu ? gpu->backend() : device::Backend::host,
                       gpu ? gpu->description().compute_capability : 0);
  const plan::StepCounts real = counts_of_real_step(fixture, p);
  CHECK(planned.flops() > 0.0);
  CHECK(planned.operations == real.operations);
  CHECK(planned.collectives == real.collectives);
}

}  // namespace

TEST_CASE("counts of a planned step are those of a real one, whatever is recomputed") {
  if (testing::session().size() != 1) return;
  for (const char* name : {"untied_k2", "no_qk_norm", "gpt2", "moe", "moe_mixed"}) {
    const Hdf5Fixture fixture(testing::fixture_path(name));
    for (const char* recompute : {"none", "selective", "mlp", "full"}) {
      config::Parameters p = testing::parameters_of(fixture, 1, 1, false, 1, "float32");
      p.memory.recompute = recompute;
      p.data.document_mask = recompute == std::string("mlp");
      p.experts.balance = recompute == std::string("full") ? "global" : "sequence";
      check(fixture, p);
    }
  }
}

TEST_CASE("counts of a planned step are those of a real one on every grid") {
  const int size = testing::session().size();
  if (size == 1) return;
  for (const char* name : {"tied_k2", "untied_k1", "gpt2"}) {
    const Hdf5Fixture fixture(testing::fixture_path(name));
    for (int tensor = 1; tensor <= size; tensor *= 2) {
      const int data = size / tensor;
      for (const bool sequence_parallel : {false, true})
        for (const int zero_stage : {0, 1}) {
          if (tensor == 1 && sequence_parallel) continue;
          config::Parameters p =
              testing::parameters_of(fixture, tensor, data, sequence_parallel, zero_stage,
                                     zero_stage == 0 ? "bfloat16" : "float32");
          p.memory.recompute = sequence_parallel ? "full" : "none";
          p.parallel.overlap_tensor = zero_stage == 1 && tensor > 1;
          check(fixture, p);
        }
    }
  }
}

}  // namespace espalier
