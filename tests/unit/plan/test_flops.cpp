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

TEST_CASE("of experts the router and those that a token is sent to are counted") {
  const model::Architecture a3b =
      testing::qwen3_moe({2048, 6144, 48, 32, 4, 128, false}, 128, 8, 768);
  CHECK(gflop(a3b, 4096) == Approx(23.08).margin(0.005));
  CHECK(gflop(a3b, 8192) == Approx(27.91).margin(0.005));
  CHECK(gflop(a3b, 32768) == Approx(56.90).margin(0.005));
  const model::Architecture a22b =
      testing::qwen3_moe({4096, 12288, 94, 64, 4, 128, false}, 128, 8, 1536);
  CHECK(gflop(a22b, 4096) == Approx(148.33).margin(0.005));
  CHECK(gflop(a22b, 8192) == Approx(167.26).margin(0.005));
  CHECK(gflop(a22b, 32768) == Approx(280.80).margin(0.005));

  // 6 [L (2HAD + 2HKD + EH + 3kHFe) + VH] + 6 L A D S
  const double H = 2048, L = 48, AD = 4096, KD = 512, E = 128, V = 151936;
  const double matrices = L * (2 * H * AD + 2 * H * KD + E * H + 3 * 8 * H * 768) + V * H;
  CHECK(plan::flops_per_token(a3b, 4096).causal_attention ==
        Approx(6.0 * matrices + 6.0 * L * AD * 4096).epsilon(1e-14));
  model::Architecture mixed = a3b;
  mixed.decoder_sparse_step = 2;  // the other blocks have an MLP as wide as 8 experts
  CHECK(plan::flops_by_part(mixed, 4096).mlp ==
        Approx(plan::flops_by_part(a3b, 4096).mlp - 6.0 * L / 2 * E * H).epsilon(1e-14));
}
