#include "model/architecture.hpp"

#include <algorithm>
#include <cmath>

#include "base/error.hpp"
#include "base/text.hpp"
#include "model/families.hpp"
#include "model/tensor_table.hpp"

namespace espalier::model {
namespace {

using kernels::RopeType;

/// transformers' choice when attention_factor is not given: 0.1 ln(factor) + 1 of Peng et al. 2023,
/// or the quotient of two such with weights before the logarithm.
double yarn_attention_factor(const config::ModelParameters& p) {
  if (p.rope_attention_factor != 0.0) return p.rope_attention_factor;
  const auto scale = [&](double weight) {
    return p.rope_factor <= 1.0 ? 1.0 : 0.1 * weight * std::log(p.rope_factor) + 1.0;
  };
  if (p.rope_mscale != 0.0 && p.rope_mscale_all_dim != 0.0)
    return scale(p.rope_mscale) / scale(p.rope_mscale_all_dim);
  return scale(1.0);
}

kernels::RopeScaling rope_scaling_of(const config::ModelParameters& p) {
  if (p.rope_type == "linear") return {.type = RopeType::linear, .factor = p.rope_factor};
  if (p.rope_type == "dynamic")
    return {.type = RopeType::dynamic,
            .factor = p.rope_factor,
            .original_positions = p.max_position_embeddings};
  if (p.rope_type == "yarn")
    return {.type = RopeType::yarn,
            .factor = p.rope_factor,
            .original_positions = p.rope_original_max_position_embeddings,
            .beta_fast = p.rope_beta_fast,
            .beta_slow = p.rope_beta_slow,
            .attention_factor = yarn_attention_factor(p),
            .truncate = p.rope_truncate};
  if (p.rope_type == "llama3")
    return {.type = RopeType::llama3,
            .factor = p.rope_factor,
            .original_positions = p.rope_original_max_position_embeddings,
            .low_freq_factor = p.rope_low_freq_factor,
            .high_freq_factor = p.rope_high_freq_factor};
  return {};
}

/// What the banner says of it.
std::string remark_on(const kernels::RopeScaling& s) {
  const std::string from = fmt::format("from {} positions", with_commas(s.original_positions));
  switch (s.type) {
    case RopeType::standard:
      return "";
    case RopeType::linear:
      return "linear: every frequency is divided by it";
    case RopeType::dynamic:
      return fmt::format("dynamic NTK, {}", from);
    case RopeType::yarn:
      return fmt::format("YaRN, {}; beta {}, {}; attention factor {:.6g}", from,
                         config::toml_value(s.beta_fast), config::toml_value(s.beta_slow),
                         s.attention_factor);
    case RopeType::llama3:
      return fmt::format("Llama 3.1, {}; frequency factors {}, {}", from,
                         config::toml_value(s.low_freq_factor),
                         config::toml_value(s.high_freq_factor));
  }
  return "";
}

/// Of the tables of tokens and positions, and the LM head.
std::int64_t num_embedding_parameters(const Architecture& a) {
  const std::int64_t rows =
      (a.tied ? 1 : 2) * a.vocab_size +
      (a.position_embedding == PositionEmbedding::learned ? a.max_positions : 0);
  return rows * a.hidden_size;
}

}  // namespace

Architecture Architecture::from(const config::ModelParameters& p) {
  if (p.hidden_size <= 0 || p.head_dim <= 0 || p.num_key_value_heads <= 0)
    throw Error(ExitStatus::bad_configuration,
                "model: no model is given; set model.file (see inputs/models) or the sizes in "
                "[model]",
                Met::by_every_rank);
  const Family& family = family_of(p.model_type);
  Architecture a{.model_type = p.model_type,
                 .normalization = family.normalization,
                 .position_embedding = family.position_embedding,
                 .mlp = family.mlp,
                 .qk_norm = family.qk_norm,
                 .biases = family.biases,
                 .has_experts = family.has_experts,
                 .vocab_size = p.vocab_size,
                 .hidden_size = p.hidden_size,
                 .intermediate = p.intermediate_size,
                 .num_layers = p.num_hidden_layers,
                 .num_heads = p.num_attention_heads,
                 .num_kv_heads = p.num_key_value_heads,
                 .head_dim = p.head_dim,
                 .tied = p.tie_word_embeddings,
                 .rope_theta = p.rope_theta,
                 .norm_eps = static_cast<float>(p.rms_norm_eps),
                 .initializer_range = p.initializer_range,
                 .max_positions = p.max_position_embeddings};
  a.rope_scaling = rope_scaling_of(p);
  if (a.has_experts) {
    a.num_experts = p.num_experts;
    a.num_experts_per_token = p.num_experts_per_tok;
    a.expert_intermediate = p.moe_intermediate_size;
    a.norm_topk_prob = p.norm_topk_prob;
    a.decoder_sparse_step = p.decoder_sparse_step;
    a.mlp_only_layers = p.mlp_only_layers;
  }
  return a;
}

kernels::RopeFrequencies Architecture::rope_frequencies() const {
  return {.theta = rope_theta, .scaling = rope_scaling};
}

bool Architecture::is_sparse(std::int64_t layer) const {
  return has_experts && (layer + 1) % decoder_sparse_step == 0 &&
         std::find(mlp_only_layers.begin(), mlp_only_layers.end(), layer) == mlp_only_layers.end();
}

std::int64_t Architecture::num_sparse_layers() const {
  std::int64_t count = 0;
  for (std::int64_t layer = 0; layer < num_layers; ++layer) count += is_sparse(layer) ? 1 : 0;
  return count;
}

std::int64_t Architecture::num_active_parameters() const {
  std::int64_t count = 0;
  for (const parallel::TensorSpec& spec : tensor_table(*this)) {
    const bool of_experts = spec.shard == parallel::ShardRule::experts;
    count += of_experts ? spec.num_elements() / num_experts * num_experts_per_token
                        : spec.num_elements();
  }
  return count;
}

std::int64_t Architecture::num_parameters() const {
  std::int64_t count = 0;
  for (const parallel::TensorSpec& spec : tensor_table(*this)) count += spec.num_elements();
  return count;
}

std::int64_t Architecture::num_parameters_without_embedding() const {
  return num_parameters() - num_embedding_parameters(*this);
}

std::int64_t Architecture::num_active_parameters_without_embedding() const {
  return num_active_parameters() - num_embedding_parameters(*this);
}

std::string Architecture::describe() const {
  const auto row = [](std::string_view name, std::string_view letter, std::string_view value,
                      std::string_view remark = {}) {
    std::string text = fmt::format("  {:<22}{:<4}{:>15}", name, letter, value);
    if (!remark.empty()) text += fmt::format("   {}", remark);
    return text + "\n";
  };
  std::string text;
  text += row("layers", "L", with_commas(num_layers), fmt::format("family {}", model_type));
  text += row("hidden size", "H", with_commas(hidden_size),
              biases ? "biases on linear layers" : "no biases");
  const std::int64_t num_sparse = num_sparse_layers();
  if (num_sparse < num_layers)
    text += row("intermediate size", "F", with_commas(intermediate),
                fmt::format("{}{}", mlp == Mlp::swiglu ? "SwiGLU" : "GELU (tanh)",
                            num_sparse == 0 ? std::string()
                                            : fmt::format(", of {} dense layers",
                                                          with_commas(num_layers - num_sparse))));
  if (num_sparse > 0) {
    text += row("experts", "E", with_commas(num_experts),
                fmt::format("in {} layers; a token takes {}{}", with_commas(num_sparse),
                            with_commas(num_experts_per_token),
                            norm_topk_prob ? ", weights divided by their sum" : ""));
    text += row("expert size", "Fe", with_commas(expert_intermediate), "SwiGLU");
  }
  text += row("query heads", "A", with_commas(num_heads),
              fmt::format("A x D = {}", with_commas(num_heads * head_dim)));
  text += row("key/value heads", "K", with_commas(num_kv_heads),
              num_heads == num_kv_heads
                  ? "one for each query head"
                  : fmt::format("{} query heads share one", num_heads / num_kv_heads));
  text += row("head dim", "D", with_commas(head_dim), qk_norm ? "with QK-norm" : "no QK-norm");
  text += row("vocabulary", "V", with_commas(vocab_size),
              tied ? "embedding and LM head tied" : "embedding and LM head separate");
  if (position_embedding == PositionEmbedding::rope)
    text += row("rope theta", "", config::toml_value(rope_theta),
                fmt::format("up to {} positions", with_commas(max_positions)));
  else
    text += row("learned positions", "", with_commas(max_positions), "added to the embedding");
  if (rope_scaling.type != RopeType::standard)
    text +=
        row("rope factor", "", config::toml_value(rope_scaling.factor), remark_on(rope_scaling));
  text += row("norm epsilon", "", fmt::format("{:g}", norm_eps),
              normalization == Normalization::rms_norm ? "RMSNorm" : "LayerNorm with bias");
  text += row("parameters", "N", with_commas(num_parameters()),
              fmt::format("{} outside embeddings and LM head",
                          with_commas(num_parameters_without_embedding())));
  if (num_sparse > 0)
    text += row("active parameters", "", with_commas(num_active_parameters()),
                fmt::format("that a token meets; {} outside embeddings and LM head",
                            with_commas(num_active_parameters_without_embedding())));
  text.pop_back();
  return text;
}

}  // namespace espalier::model
