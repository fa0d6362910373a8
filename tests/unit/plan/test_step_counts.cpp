#include <catch2/catch.hpp>

#include "plan/flops.hpp"
#include "plan/step_counts.hpp"
#include "support/parameters.hpp"

using namespace espalier;

namespace {

/// Qwen3-8B on 8 x 16 ranks.
config::Parameters qwen3_8b_on_128_ranks() {
  config::Parameters p = testing::qwen3_8b();
  p.parallel.tensor = 8;
  p.parallel.data = 16;
  p.training.micro_batch_size = 1;
  p.training.global_batch_size = 64;
  p.training.dtype = "bfloat16";
  return p;
}

bool is_product(const device::Operation& operation) {
  return operation.m > 0;
}

}  // namespace

TEST_CASE("the products of all ranks are six FLOPs for each matrix parameter and token") {
  const config::Parameters p = qwen3_8b_on_128_ranks();
  const parallel::GridShape shape{.tensor = 8, .data = 16};
  const double tokens = 64.0 * 4096.0;
  for (const device::Backend backend : {device::Backend::host, device::Backend::cuda}) {
    // Tensor ranks have equal parts here, and data ranks equal work.
    const plan::StepCounts counts = plan::count_step(p, {shape, 0}, backend, 90);
    double products = 0.0, attention = 0.0;
    for (const auto& [operation, cost] : counts.operations) {
      if (is_product(operation)) products += 128.0 * cost.flops;
      if (operation.name.starts_with("attention")) attention += 128.0 * cost.flops;
    }
    const auto expected = plan::flops_per_token(model::Architecture::from(p.model), 4096.0);
    const double full_attention = 12.0 * 36 * 32 * 128 * 4096 * tokens;
    CHECK(products == Approx(tokens * expected.full_attention - full_attention).epsilon(1e-12));
    // Causal, with the diagonal: (S + 1) / 2 keys for a query, and the scores once more backward.
    const double causal = 2.0 * 2.0 * 36 * 32 * 128 * (4096.0 + 1.0) / 2.0 * tokens;
    CHECK(attention == Approx(3.5 * causal).epsilon(1e-12));
  }
}

TEST_CASE("what a planned step sends grows with the data axis as ZeRO-1 says") {
  config::Parameters p = qwen3_8b_on_128_ranks();
  p.parallel.tensor = 1;
  p.training.global_batch_size = 16;
  const plan::StepCounts counts =
      plan::count_step(p, {{.tensor = 1, .data = 16}, 3}, device::Backend::host);
  const auto& data = counts.collectives.at("data");
  const double weights = 8'190'735'360.0;  // Qwen3-8B
  // fp32 gradients are scattered, bf16 weights gathered, each whole but for the own part.
  CHECK(static_cast<double>(data.at("reduce_scatter").bytes) == 4.0 * weights);
  CHECK(static_cast<double>(data.at("all_gather").bytes) == 2.0 * weights);
  CHECK(static_cast<double>(data.at("reduce_scatter").sent_bytes) ==
        Approx(4.0 * weights * 15.0 / 16.0).epsilon(1e-4));
  CHECK_FALSE(counts.collectives.contains("tensor"));
  CHECK_THAT(plan::describe(counts), Catch::Contains("reduce_scatter over data"));
}

TEST_CASE("a step of many micro-batches is counted as one that takes each of them") {
  config::Parameters p = qwen3_8b_on_128_ranks();
  p.model.num_hidden_layers = 3;
  p.parallel.overlap_tensor = true;
  for (const char* recompute : {"none", "full"}) {
    p.memory.recompute = recompute;
    const auto counts_of = [&](std::int64_t num_micro_batches) {
      p.training.global_batch_size = 16 * num_micro_batches;
      return plan::count_step(p, {{.tensor = 8, .data = 16}, 0}, device::Backend::cuda, 90);
    };
    // Of four each is taken, of nine a few.
    const plan::StepCounts three = counts_of(3), four = counts_of(4), nine = counts_of(9);
    REQUIRE(nine.operations.size() == four.operations.size());
    for (const auto& [operation, cost] : nine.operations) {
      const device::PhaseCost& a = three.operations.at(operation);
      const device::PhaseCost& b = four.operations.at(operation);
      CHECK(cost.calls == b.calls + 5 * (b.calls - a.calls));
      CHECK(cost.flops == Approx(b.flops + 5.0 * (b.flops - a.flops)).epsilon(1e-12));
      CHECK(cost.bytes == Approx(b.bytes + 5.0 * (b.bytes - a.bytes)).epsilon(1e-12));
    }
    for (const auto& [group, costs] : nine.collectives)
      for (const auto& [collective, cost] : costs) {
        const parallel::CollectiveCost& a = three.collectives.at(group).at(collective);
        const parallel::CollectiveCost& b = four.collectives.at(group).at(collective);
        CHECK(cost.sent_bytes == b.sent_bytes + 5 * (b.sent_bytes - a.sent_bytes));
        CHECK(cost.calls == b.calls + 5 * (b.calls - a.calls));
      }
  }
}
