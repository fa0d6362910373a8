#include <catch2/catch.hpp>

#include "plan/flops.hpp"
#include "support/architectures.hpp"

using namespace espalier;
using testing::qwen3;

namespace {

double gflop(const model::Architecture& a, std::int64_t sequence_length) {
  return plan::flops_per_token(a, sequence_length).causal_attention * 1e-9;
}

}  // namespace

TEST_CASE("GFLOP with causal attention per token of known models") {
  // Three sequence lengths: 2048, 4096, 8192. Margins are half a unit of the published last digit.
  const auto check = [](const model::Architecture& a, double s2048, double s4096, double s8192,
                        double margin) {
    CHECK(gflop(a, 2048) == Approx(s2048).margin(margin));
    CHECK(gflop(a, 4096) == Approx(s4096).margin(margin));
    CHECK(gflop(a, 8192) == Approx(s8192).margin(margin));
  };
  check(qwen3({1024, 3072, 28, 16, 8, 128, true}), 4.28, 4.99, 6.39, 0.005);
  check(qwen3({2048, 6144, 28, 16, 8, 128, true}), 11.03, 11.73, 13.14, 0.005);
  check(qwen3({4096, 12288, 36, 32, 8, 128, false}), 47.22, 49.03, 52.66, 0.005);
  check(qwen3({5120, 25600, 64, 64, 8, 128, false}), 198.3, 204.8, 217.7, 0.05);
  check(testing::llama3_8b(), 46.64, 48.25, 51.47, 0.005);
}

TEST_CASE("the full attention counts attention twice, and the LM head counts once, tied or not") {
  const model::Architecture tied = qwen3({1024, 3072, 28, 16, 8, 128, true});
  const plan::FlopsPerToken flops = plan::flops_per_token(tied, 4096);
  CHECK(flops.full_attention - flops.causal_attention == 6.0 * 28 * 2048 * 4096);
  model::Architecture untied = tied;
  untied.tied = false;
  CHECK(plan::flops_per_token(untied, 4096).causal_attention == flops.causal_attention);
}

TEST_CASE("GPT-2's MLP has two matrices, and its positions are no product") {
  const model::Architecture a = testing::gpt2({768, 3072, 12, 12, 12, 64, true, 50257});
  const double matrices = 12.0 * (4 * 768 * 768 + 2 * 768 * 3072) + 50257.0 * 768;
  const plan::FlopsPerToken flops = plan::flops_per_token(a, 1024);
  CHECK(flops.causal_attention == 6.0 * matrices + 6.0 * 12 * 768 * 1024);
  CHECK(plan::flops_per_token(testing::gpt2({768, 3072, 12, 12, 12, 64, true, 50257}, 4096), 1024)
            .causal_attention == flops.causal_attention);
}
