#pragma once
#include "config/parameters.hpp"

// Inputs that several tests start from.

namespace espalier::testing {

/// Qwen3-8B, sequences of 4096 tokens.
inline config::Parameters qwen3_8b() {
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
  p.training.sequence_length = 4096;
  return p;
}

/// Two layers that resolve on 1, 2, 4 and 8 data ranks, of one or two tensor ranks.
inline config::Parameters small_model() {
  config::Parameters p;
  p.model.vocab_size = 256;
  p.model.hidden_size = 64;
  p.model.intermediate_size = 96;
  p.model.num_hidden_layers = 2;
  p.model.num_attention_heads = 8;
  p.model.num_key_value_heads = 2;
  p.training.sequence_length = 32;
  return p;
}

/// The same with 8 experts in each block, 2 for a token.
inline config::Parameters small_moe() {
  config::Parameters p = small_model();
  p.model.model_type = "qwen3_moe";
  p.model.intermediate_size = 0;
  p.model.num_experts = 8;
  p.model.num_experts_per_tok = 2;
  p.model.moe_intermediate_size = 48;
  p.model.norm_topk_prob = true;
  return p;
}

}  // namespace espalier::testing
