#include "model/families.hpp"

#include <algorithm>
#include <array>

#include "base/error.hpp"

namespace espalier::model {
namespace {

constexpr std::array kFamilies = {
    Family{"qwen3", Normalization::rms_norm, PositionEmbedding::rope, Mlp::swiglu,
           /*qk_norm=*/true, /*biases=*/false},
    Family{"qwen3_moe", Normalization::rms_norm, PositionEmbedding::rope, Mlp::swiglu,
           /*qk_norm=*/true, /*biases=*/false, /*has_experts=*/true},
    Family{"llama", Normalization::rms_norm, PositionEmbedding::rope, Mlp::swiglu,
           /*qk_norm=*/false, /*biases=*/false},
    Family{"gpt2", Normalization::layer_norm, PositionEmbedding::learned, Mlp::gelu,
           /*qk_norm=*/false, /*biases=*/true},
};

// QK-norm runs in the same operator as RoPE, and the tensor tables know these parts only together.
static_assert(std::ranges::all_of(kFamilies, [](const Family& f) {
  const bool classic = f.position_embedding == PositionEmbedding::learned;
  return classic == (f.normalization == Normalization::layer_norm) &&
         classic == (f.mlp == Mlp::gelu) && classic == f.biases && !(classic && f.qk_norm);
}));

}  // namespace

std::span<const Family> families() {
  return kFamilies;
}

const Family& family_of(std::string_view model_type) {
  std::string names;
  for (const Family& family : kFamilies) {
    if (family.model_type == model_type) return family;
    names += fmt::format("{}{}", names.empty() ? "" : ", ", family.model_type);
  }
  throw Error(ExitStatus::bad_configuration,
              fmt::format("model.model_type = \"{}\": the families are {}", model_type, names),
              Met::by_every_rank);
}

}  // namespace espalier::model
