#include <nlohmann/json.hpp>

#include "base/error.hpp"
#include "huggingface/config_json.hpp"
#include "huggingface/family_names.hpp"

namespace espalier::huggingface {

using config::ModelParameters;

namespace {

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
    if (m.model_type == "qwen3") {
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
  const nlohmann::ordered_json separator =
      config.separator ? nlohmann::ordered_json(*config.separator) : nlohmann::ordered_json();
  root["bos_token_id"] =
      config.begin ? nlohmann::ordered_json(*config.begin) : nlohmann::ordered_json();
  root["eos_token_id"] = separator;
  root["torch_dtype"] = config.dtype;
  root["dtype"] = config.dtype;
  root["use_cache"] = true;
  return root.dump(2) + "\n";
}

std::string write_generation_config(const ExportedConfig& config) {
  nlohmann::ordered_json root;
  root["_from_model_config"] = true;
  if (config.begin) root["bos_token_id"] = *config.begin;
  if (config.separator) {
    root["eos_token_id"] = *config.separator;
    root["pad_token_id"] = *config.separator;
  }
  return root.dump(2) + "\n";
}

}  // namespace espalier::huggingface
