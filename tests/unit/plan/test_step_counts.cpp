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
