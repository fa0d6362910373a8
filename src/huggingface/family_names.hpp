#pragma once
#include <array>
#include <string_view>

namespace espalier::huggingface {

/// What config.json calls a family of models.
struct FamilyNames {
  const char* model_type;
  const char* causal_lm;  ///< the class that `architectures` names
  const char* base;       ///< the class without LM head
};
inline constexpr std::array kFamilies = {
    FamilyNames{"qwen3", "Qwen3ForCausalLM", "Qwen3Model"},
    FamilyNames{"qwen3_moe", "Qwen3MoeForCausalLM", "Qwen3MoeModel"},
    FamilyNames{"llama", "LlamaForCausalLM", "LlamaModel"},
    FamilyNames{"gpt2", "GPT2LMHeadModel", "GPT2Model"},
};

/// nullptr: not a family that can be used.
inline const FamilyNames* family_of(std::string_view model_type) {
  for (const FamilyNames& family : kFamilies)
    if (family.model_type == model_type) return &family;
  return nullptr;
}

}  // namespace espalier::huggingface
