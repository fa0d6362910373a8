#include <nlohmann/json.hpp>

#include "base/error.hpp"
#include "config/experts.hpp"
#include "huggingface/config_json.hpp"
#include "huggingface/family_names.hpp"

namespace espalier::huggingface {

using config::ModelParameters;

namespace {

/// What the imported folder said, else what the tokenizer does; null: nothing.
nlohmann::ordered_json begin_of(const ExportedConfig& config) {
  if (config.model.bos_token_id >= 0) return config.model.bos_token_id;
  if (config.begin) return *config.begin;
  return nullptr;
}

/// The same for the tokens that end a text; one is a number, several are a list.
nlohmann::ordered_json end_of(const ExportedConfig& config) {
  const auto& ids = config.model.eos_token_id;
  if (ids.size() == 1) return ids.front();
  if (!ids.empty()) return ids;
  if (config.separator) return *config.separator;
  return nullptr;
}

/// rope_scaling with the keys of the type, null for the default type. Keys of YaRN that are not
/// given are left out: some readers take a zero literally.
nlohmann::ordered_json rope_scaling_of(const ModelParameters& m) {
  if (m.rope_type == "default") return nullptr;
  nlohmann::ordered_json scaling = {{"rope_type", m.rope_type}, {"factor", m.rope_factor}};
  if (m.rope_type == "llama3") {
    scaling["low_freq_factor"] = m.rope_low_freq_factor;
    scaling["high_freq_factor"] = m.rope_high_freq_factor;
  }
  if (config::rope_key_has_meaning(m.rope_type, "rope_original_max_position_embeddings"))
    scaling["original_max_position_embeddings"] = m.rope_original_max_position_embeddings;
  if (m.rope_type != "yarn") return scaling;
  scaling["beta_fast"] = m.rope_beta_fast;
  scaling["beta_slow"] = m.rope_beta_slow;
  if (m.rope_attention_factor != 0.0) scaling["attention_factor"] = m.rope_attention_factor;
  if (m.rope_mscale != 0.0) scaling["mscale"] = m.rope_mscale;
  if (m.rope_mscale_all_dim != 0.0) scaling["mscale_all_dim"] = m.rope_mscale_all_dim;
  scaling["truncate"] = m.rope_truncate;
  return scaling;
}

}  // namespace

std::string write_config(const ExportedConfig& config) {
  const ModelParameters& m = config.model;
  const FamilyNames* family = family_of(m.model_type);
  ESPALIER_ASSERT(family != nullptr, "{}", m.model_type);
  nlohmann::ordered_json root;
  root["architectures"] = {family->causal_lm};
  root["model_type"] = m.model_type;
  if (m.model_type == "gpt2") {
    root["activation_function"] = "gelu_new";
    root["n_embd"] = m.hidden_size;
    root["n_layer"] = m.num_hidden_layers;
    root["n_head"] = m.num_attention_heads;
    root["n_inner"] = m.intermediate_size;
    root["n_positions"] = m.max_position_embeddings;
    root["layer_norm_epsilon"] = m.rms_norm_eps;
    root["attn_pdrop"] = 0.0;
    root["embd_pdrop"] = 0.0;
    root["resid_pdrop"] = 0.0;
  } else {
    root["attention_bias"] = false;
    root["attention_dropout"] = 0.0;
    root["head_dim"] = m.head_dim;
    root["hidden_act"] = "silu";
    root["hidden_size"] = m.hidden_size;
    root["intermediate_size"] = m.intermediate_size;
    root["max_position_embeddings"] = m.max_position_embeddings;
    root["num_attention_heads"] = m.num_attention_heads;
    root["num_hidden_layers"] = m.num_hidden_layers;
    root["num_key_value_heads"] = m.num_key_value_heads;
    root["rms_norm_eps"] = m.rms_norm_eps;
    const nlohmann::ordered_json scaling = rope_scaling_of(m);
    nlohmann::ordered_json parameters = {{"rope_type", m.rope_type}, {"rope_theta", m.rope_theta}};
    if (!scaling.is_null()) parameters.update(scaling);
    root["rope_theta"] = m.rope_theta;
    root["rope_scaling"] = scaling;
    root["rope_parameters"] = parameters;
    if (config::has_experts(m)) {
      root["num_experts"] = m.num_experts;  // transformers 4
      root["num_local_experts"] = m.num_experts;
      root["num_experts_per_tok"] = m.num_experts_per_tok;
      root["moe_intermediate_size"] = m.moe_intermediate_size;
      root["norm_topk_prob"] = m.norm_topk_prob;
      root["decoder_sparse_step"] = m.decoder_sparse_step;
      root["mlp_only_layers"] = m.mlp_only_layers;
      root["router_aux_loss_coef"] = m.router_aux_loss_coef;
      root["output_router_logits"] = false;
    }
    if (m.model_type.starts_with("qwen3")) {
      root["use_sliding_window"] = false;
      root["sliding_window"] = nullptr;
    } else {
      root["mlp_bias"] = false;
      root["pretraining_tp"] = 1;
    }
  }
  root["initializer_range"] = m.initializer_range;
  root["vocab_size"] = m.vocab_size;
  root["tie_word_embeddings"] = m.tie_word_embeddings;
  root["bos_token_id"] = begin_of(config);
  root["eos_token_id"] = end_of(config);
  if (m.pad_token_id >= 0) root["pad_token_id"] = m.pad_token_id;
  root["torch_dtype"] = config.dtype;
  root["dtype"] = config.dtype;
  root["use_cache"] = true;
  return root.dump(2) + "\n";
}

std::string write_generation_config(const ExportedConfig& config) {
  if (!config.model.generation_config.empty()) return config.model.generation_config;
  nlohmann::ordered_json root;
  root["_from_model_config"] = true;
  if (const auto begin = begin_of(config); !begin.is_null()) root["bos_token_id"] = begin;
  if (const auto end = end_of(config); !end.is_null()) root["eos_token_id"] = end;
  if (config.model.pad_token_id >= 0)
    root["pad_token_id"] = config.model.pad_token_id;
  else if (config.separator)
    root["pad_token_id"] = *config.separator;
  return root.dump(2) + "\n";
}

}  // namespace espalier::huggingface
