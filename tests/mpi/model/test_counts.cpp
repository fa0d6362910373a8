// What a planned step counts is what a real one does.
#include <catch2/catch.hpp>

#include "model/stage_assignment.hpp"
#include "mpi/model/model_on_grid.hpp"
#include "plan/step_counts.hpp"

namespace espalier {
namespace {

using testing::Hdf5Fixture;
using testing::ModelOnGrid;

/// One step of the fixture's model with micro-batches of one sequence, counted while it is made.
plan::StepCounts counts_of_real_step(const Hdf5Fixture& fixture, const config::Parameters& p) {
  ModelOnGrid model(p, testing::gpu_of_test());
  model.stages.set_weight_use(*model.memory.parameter_store);
  parallel::CountingLink* link = nullptr;
  if (model.link != nullptr) {
    auto counted = std::make_unique<parallel::CountingLink>(std::move(model.link));
    link = counted.get();
    model.link = std::move(counted);
  }
  std::vector<std::int64_t> sent;
  const auto each = [&](auto&& body) {
    const auto with = [&](const std::unique_ptr<parallel::Communicator>& group) {
      if (group != nullptr) body(dynamic_cast<parallel::CountingCommunicator&>(*group));
    };
    with(model.communicators.tensor);
    with(model.communicators.tensor_overlap);
    with(model.communicators.context);
    for (const auto& [span, group] : model.communicators.gradients) with(group);
    with(model.communicators.tied);
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
  model.step({.num_micro_batches = p.training.global_batch_size / p.parallel.data,
              .num_targets = 48,
              .num_sequences = p.training.global_batch_size,
              .load = [&](std::int64_t) { return batch; }},
             /*step=*/1, {.exchange = exchange});
  each([&](auto& group) { after += group.bytes_sent(); });
  plan::StepCounts counts{.operations = model.context.profiler().operations(),
                          .collectives = parallel::costs_of(model.communicators)};
  if (link != nullptr) {
    parallel::CollectiveCost& messages = counts.collectives["pipeline"]["messages"];
    for (const auto& [key, cost] : link->sent()) {
      messages.calls += cost.messages;
      messages.bytes += cost.bytes;
    }
    messages.sent_bytes = link->bytes_sent();  // what MPI was given
    after += messages.bytes;
  }
  // MPI's own count of what went out.
  if (model.gpu == nullptr) CHECK(counts.sent_bytes() == after - before);
  return counts;
}

void check(const Hdf5Fixture& fixture, config::Parameters p, std::int64_t micro_batches = 2) {
  p.training.micro_batch_size = 1;
  p.training.global_batch_size = micro_batches * p.parallel.data;
  INFO("tensor " << p.parallel.tensor << ", context " << p.parallel.context << ", data "
                 << p.parallel.data << ", sequence parallel " << p.parallel.sequence_parallel
                 << ", zero " << p.parallel.zero_stage << ", " << p.memory.recompute << ", "
                 << p.training.dtype << ", " << p.model.model_type << ", pipeline "
                 << p.parallel.pipeline << ", " << p.parallel.schedule);
  const auto gpu = testing::gpu_of_test();
  const parallel::ProcessGrid grid({.tensor = static_cast<int>(p.parallel.tensor),
                                    .context = static_cast<int>(p.parallel.context),
                                    .data = static_cast<int>(p.parallel.data),
                                    .pipeline = static_cast<int>(p.parallel.pipeline)},
                                   testing::session().rank());
  const plan::StepCounts planned =
      plan::count_step(p, grid, gpu ? gpu->backend() : device::Backend::host,
                       gpu ? gpu->description().compute_capability : 0);
  const plan::StepCounts real = counts_of_real_step(fixture, p);
  if (p.parallel.pipeline == 1) CHECK(planned.flops() > 0.0);  // a stage may have no block
  const plan::StepCounts more = plan::difference(planned, real);
  for (const auto& [operation, cost] : more.operations)
    if (!(cost == device::PhaseCost{}))
      FAIL_CHECK(operation.name << " (" << operation.m << ", " << operation.k << ", " << operation.n
                                << "): planned " << cost.calls << " calls, " << cost.bytes
                                << " bytes more than there are");
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

TEST_CASE("counts of a planned step are those of a real one where ranks share sequences") {
  const int size = testing::session().size();
  if (size == 1 || testing::gpu_of_test() != nullptr) return;
  struct Way {
    int tensor, context, pipeline;
    const char* recompute;
  };
  for (const char* name : {"tied_k2", "untied_k1", "moe"}) {
    const Hdf5Fixture fixture(testing::fixture_path(name));
    for (const Way& way : {Way{1, 2, 1, "none"}, Way{1, 4, 1, "full"}, Way{2, 2, 1, "mlp"},
                           Way{1, 2, 2, "selective"}}) {
      const int ranks = way.tensor * way.context * way.pipeline;
      if (size % ranks != 0) continue;
      config::Parameters p =
          testing::parameters_of(fixture, way.tensor, size / ranks, way.tensor > 1, 1, "bfloat16");
      p.parallel.context = way.context;
      p.parallel.context_kv_heads = way.context == 2 ? 1 : 0;
      p.parallel.pipeline = way.pipeline;
      p.training.micro_batch_size = 1;
      p.training.global_batch_size = 2 * p.parallel.data;
      p.memory.recompute = way.recompute;
      p.data.document_mask = way.tensor > 1;
      p.experts.balance = way.context == 2 ? "sequence" : "batch";
      check(fixture, p);
      // By hand: keys and values of all heads, gathered in a forward pass and again in a backward
      // pass, once more where attention is computed again, but for the last block; and their
      // gradients.
      const auto counts = plan::count_step(p, {{.tensor = way.tensor,
                                                .context = way.context,
                                                .data = size / ranks,
                                                .pipeline = way.pipeline},
                                               testing::session().rank()});
      const auto& group = counts.collectives.at("context");
      const std::int64_t kv_heads =
          std::max<std::int64_t>(1, p.model.num_key_value_heads / way.tensor);
      const std::int64_t layers = p.model.num_hidden_layers / way.pipeline;
      const std::int64_t of_block = 2 * kv_heads * 2 * p.model.head_dim * 24;  // two micro-batches
      const std::int64_t again = way.recompute == std::string("full") ? layers - 1 : 0;
      CHECK(group.at("all_gather").bytes == (2 * layers + again) * of_block * 2);
      CHECK(group.at("reduce_scatter").bytes == layers * of_block * 4);
      CHECK(group.at("reduce_scatter").sent_bytes ==
            layers * of_block * 4 * (way.context - 1) / way.context);
    }
  }
}

// Activations one way and gradients the other, in the model's dtype, of this rank's tokens.
TEST_CASE("counts of a planned step of a pipeline have the messages that its link sends") {
  const int size = testing::session().size();
  if (size == 1) return;
  constexpr std::int64_t kMicroBatches = 4;
  struct Way {
    const char* schedule;
    int chunks;
  };
  for (const char* name : {"tied_k2", "untied_k1"}) {
    const Hdf5Fixture fixture(testing::fixture_path(name));
    for (const Way& way : {Way{"1f1b", 0}, Way{"interleaved", 2}, Way{"zb-h1", 0}, Way{"zb-v", 2}})
      for (const bool splits : {false, true}) {
        if (splits && size < 4) continue;
        const int tensor = splits ? 2 : 1;
        const char* dtype = splits == (name == std::string("tied_k2")) ? "bfloat16" : "float32";
        config::Parameters p = testing::parameters_of(fixture, tensor, 1, splits, 1, dtype);
        p.parallel.pipeline = size / tensor;
        p.parallel.schedule = way.schedule;
        p.parallel.chunks = way.chunks;
        p.training.micro_batch_size = 1;
        p.training.global_batch_size = kMicroBatches;
        check(fixture, p, kMicroBatches);
        // By hand: what leaves a stage for one of another rank.
        const auto counts = plan::count_step(
            p,
            {{.tensor = tensor, .data = 1, .pipeline = size / tensor}, testing::session().rank()});
        const model::StageAssignment stages =
            model::assign_stages(model::Architecture::from(p.model), p);
        const pipeline::Placement& placement = stages.placement;
        const int mine = testing::session().rank() / tensor;
        std::int64_t messages = 0;
        for (int stage = 0; stage + 1 < placement.num_stages(); ++stage) {
          const int from = placement.rank_of(stage), to = placement.rank_of(stage + 1);
          if (from == to) continue;
          messages += (from == mine ? kMicroBatches : 0) + (to == mine ? kMicroBatches : 0);
        }
        const parallel::CollectiveCost& cost = counts.collectives.at("pipeline").at("messages");
        CHECK(cost.calls == messages);
        const auto element = static_cast<std::int64_t>(size_of(dtype_from_name(p.training.dtype)));
        CHECK(cost.sent_bytes ==
              messages * p.training.sequence_length / tensor * p.model.hidden_size * element);
      }
  }
}

}  // namespace espalier
