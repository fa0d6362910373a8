#include <catch2/catch.hpp>

#include "plan/time/counted_step.hpp"
#include "support/parameters.hpp"

using namespace espalier;

namespace {

/// Two things are not linear in the number of blocks, and weigh nothing: how many tensors one
/// launch of the optimizer takes, and which of the few sums of a step a rank is the one to add.
void check_equal(plan::StepCounts counts, plan::StepCounts expected) {
  for (plan::StepCounts* c : {&counts, &expected}) {
    c->operations.at({"adamw"}).calls = 1;
    if (const auto world = c->collectives.find("world"); world != c->collectives.end())
      for (auto& [collective, cost] : world->second) cost.sent_bytes = 0;
  }
  CHECK(counts.operations == expected.operations);
  CHECK(counts.collectives == expected.collectives);
}

}  // namespace

TEST_CASE("what is extrapolated from small steps is the count of the whole step") {
  config::Parameters p = testing::qwen3_8b();
  p.model.num_hidden_layers = 9;
  p.training.sequence_length = 1024;
  p.training.micro_batch_size = 2;
  p.training.dtype = "bfloat16";
  const auto tensor = GENERATE(1, 4, 16);
  const auto data = GENERATE(1, 6);
  const auto recompute = GENERATE("none", "selective", "mlp", "full");
  for (const bool overlap : {false, true}) {
    for (const bool tied : {false, true}) {
      CAPTURE(tensor, data, recompute, overlap, tied);
      p.parallel.tensor = tensor;
      p.parallel.data = data;
      p.parallel.overlap_tensor = overlap;
      p.model.tie_word_embeddings = tied;
      p.memory.recompute = recompute;
      p.training.global_batch_size = 2 * data * 5;
      for (const device::Backend backend : {device::Backend::host, device::Backend::cuda}) {
        const plan::StepCounts expected =
            plan::count_step(p, {{.tensor = tensor, .data = data}, 0}, backend, 90);
        check_equal(plan::counted_step(p, backend, 90).at(9, 5), expected);
      }
    }
  }
}

TEST_CASE("steps of a context group are extrapolated exactly, with its collectives") {
  config::Parameters p = testing::qwen3_8b();
  p.model.num_hidden_layers = 5;
  p.training.sequence_length = 1024;
  p.training.micro_batch_size = 2;
  p.training.dtype = "bfloat16";
  p.memory.recompute = GENERATE("none", "full");
  p.parallel.tensor = GENERATE(1, 2);
  p.parallel.context = 4;
  p.parallel.context_kv_heads = GENERATE(0, 1);
  p.parallel.data = 2;
  p.training.global_batch_size = 12;
  const parallel::GridShape shape{
      .tensor = static_cast<int>(p.parallel.tensor), .context = 4, .data = 2};
  for (const device::Backend backend : {device::Backend::host, device::Backend::cuda}) {
    const plan::StepCounts expected = plan::count_step(p, {shape, 0}, backend, 90);
    CHECK(expected.collectives.contains("context"));
    check_equal(plan::counted_step(p, backend, 90).at(5, 3), expected);
  }
}

TEST_CASE("a GPT-2 step and one without sequence parallelism are extrapolated exactly, too") {
  config::Parameters p = testing::qwen3_8b();
  p.model.model_type = "gpt2";
  p.model.num_key_value_heads = 32;
  p.model.num_hidden_layers = 5;
  p.training.sequence_length = 512;
  p.training.micro_batch_size = 1;
  p.parallel.tensor = 2;
  p.parallel.data = 2;
  p.parallel.zero_stage = 0;
  p.parallel.sequence_parallel = false;
  p.training.global_batch_size = 8;
  const plan::StepCounts expected =
      plan::count_step(p, {{.tensor = 2, .data = 2}, 0}, device::Backend::cuda, 100);
  check_equal(plan::counted_step(p, device::Backend::cuda, 100).at(5, 4), expected);
}
