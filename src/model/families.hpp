#pragma once
#include <span>
#include <string_view>

#include "model/architecture.hpp"

namespace espalier::model {

/// What a family is made of.
///
/// | model_type | norm      | positions | MLP     | QK-norm | biases | also covers             |
/// |------------|-----------|-----------|---------|---------|--------|-------------------------|
/// | qwen3      | RMSNorm   | RoPE      | SwiGLU  | yes     | no     |                         |
/// | qwen3_moe  | RMSNorm   | RoPE      | SwiGLU* | yes     | no     |                         |
/// | llama      | RMSNorm   | RoPE      | SwiGLU  | no      | no     | Llama 2, 3, 3.1 and 3.2 |
/// | gpt2       | LayerNorm | learned   | GELU    | no      | yes    |                         |
///
/// * of every block or of some, E of them, the experts, of which a token is sent to k
struct Family {
  std::string_view model_type;  ///< Hugging Face's name
  Normalization normalization;
  PositionEmbedding position_embedding;
  Mlp mlp;
  bool qk_norm;
  bool biases;
  bool has_experts = false;
};

std::span<const Family> families();
/// Throws Error (bad_configuration, met by every rank) that lists the families.
const Family& family_of(std::string_view model_type);

}  // namespace espalier::model
