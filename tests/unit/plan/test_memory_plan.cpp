#include <catch2/catch.hpp>

#include "plan/memory_plan.hpp"

using namespace espalier;

namespace {

config::Parameters qwen3_8b() {
  config::Parameters p;
  p.model.model_type = "qwen3";
  p.model.vocab_size = 151936;
  p.model.hidden_size = 4096;
  p.model.intermediate_size = 12288;
  p.model.num_hidden_layers = 36;
  p.model.num_attention_heads = 32;
  p.model.num_key_value_heads = 8;
  p.model.head_dim = 128;
  p.model.tie_word_embeddings = false;
  p.model.max_position_embeddings = 40960;
  p.parallel.data = 1;
  p.training.sequence_length = 4096;
  p.training.micro_batch_size = 2;
  return p;
}

std::int64_t activation_bytes(config::Parameters p, const std::string& recompute) {
  p.memory.recompute = recompute;
  const parallel::GridShape shape{.tensor = static_cast<int>(p.parallel.tensor),
                                  .data = static_cast<int>(p.parallel.data)};
  return plan::JobMemory::planned(p, {shape, 0}, plan::Purpose::training)
      .activation_arena.used_bytes();
}

}  // namespace

// The table in model/activations.hpp. Sizes are multiples of the arena's alignment.
TEST_CASE("activations shrink by the bytes that are not kept, in all blocks but one") {
  config::Parameters p = qwen3_8b();
  p.training.dtype = GENERATE("bfloat16", "float32");
  p.parallel.tensor = GENERATE(1, 4);
  p.parallel.sequence_parallel = GENERATE(false, true);
  const std::int64_t w = p.training.dtype == "float32" ? 4 : 2;
  const std::int64_t n = p.parallel.tensor;
  const std::int64_t H = 4096, F = 12288 / n, A = 32 / n, K = 8 / n, D = 128;
  const std::int64_t tokens = 2 * 4096;
  const std::int64_t local = p.parallel.sequence_parallel ? tokens / n : tokens;
  const std::int64_t blocks = 36 - 1;

  const std::int64_t n1_n2_qk = local * 2 * w * H + tokens * w * (A + K) * D;
  const std::int64_t gate_up = tokens * w * 2 * F;
  const std::int64_t others =
      tokens * (w * (A + 2 * K) * D + w * A * D + 4 * A) + local * (w * H + 8);
  const std::int64_t kept = activation_bytes(p, "none");
  CHECK(kept - activation_bytes(p, "selective") == blocks * n1_n2_qk);
  CHECK(kept - activation_bytes(p, "mlp") == blocks * (n1_n2_qk + gate_up));
  CHECK(kept - activation_bytes(p, "full") == blocks * (n1_n2_qk + gate_up + others));
}
