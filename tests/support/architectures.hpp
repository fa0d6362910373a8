#pragma once
#include "model/architecture.hpp"

// Architectures that several tests name. Numbers: Hugging Face's config.json of each model.

namespace espalier::testing {

struct Sizes {
  std::int64_t H, F, L, A, K, D;
  bool tied;
  std::int64_t V = 151936;
};

inline model::Architecture qwen3(const Sizes& s) {
  return {.model_type = "qwen3",
          .qk_norm = true,
          .vocab_size = s.V,
          .hidden_size = s.H,
          .intermediate = s.F,
          .num_layers = s.L,
          .num_heads = s.A,
          .num_kv_heads = s.K,
          .head_dim = s.D,
          .tied = s.tied,
          .rope_theta = 1.0e6,
          .norm_eps = 1.0e-6F,
          .initializer_range = 0.02,
          .max_positions = 40960};
}

inline model::Architecture llama3_8b() {
  model::Architecture a = qwen3({4096, 14336, 32, 32, 8, 128, false, 128256});
  a.model_type = "llama";
  a.qk_norm = false;
  a.rope_theta = 5.0e5;
  return a;
}

/// Qwen3 with experts in every block, k of E for a token.
inline model::Architecture qwen3_moe(const Sizes& s, std::int64_t E, std::int64_t k,
                                     std::int64_t Fe) {
  model::Architecture a = qwen3(s);
  a.model_type = "qwen3_moe";
  a.has_experts = true;
  a.num_experts = E;
  a.num_experts_per_token = k;
  a.expert_intermediate = Fe;
  a.norm_topk_prob = true;
  return a;
}

inline model::Architecture gpt2(const Sizes& s, std::int64_t positions = 1024) {
  model::Architecture a = qwen3(s);
  a.model_type = "gpt2";
  a.normalization = model::Normalization::layer_norm;
  a.position_embedding = model::PositionEmbedding::learned;
  a.mlp = model::Mlp::gelu;
  a.qk_norm = false;
  a.biases = true;
  a.norm_eps = 1.0e-5F;
  a.max_positions = positions;
  return a;
}

}  // namespace espalier::testing
