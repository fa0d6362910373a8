#pragma once
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "config/field.hpp"

// The model's architecture, with Hugging Face's names.
// What a table's struct looks like: config/parameters.hpp.

namespace espalier::config {

struct ModelParameters {
  std::string file = "";
  std::string model_type = "qwen3";
  std::int64_t vocab_size = 0;
  std::int64_t hidden_size = 0;
  std::int64_t intermediate_size = 0;
  std::int64_t num_hidden_layers = 0;
  std::int64_t num_attention_heads = 0;
  std::int64_t num_key_value_heads = 0;
  std::int64_t head_dim = 0;
  bool tie_word_embeddings = false;
  std::int64_t num_experts = 0;
  std::int64_t num_experts_per_tok = 0;
  std::int64_t moe_intermediate_size = 0;
  bool norm_topk_prob = false;
  std::int64_t decoder_sparse_step = 1;
  std::vector<std::int64_t> mlp_only_layers;
  double router_aux_loss_coef = 0.001;
  double rope_theta = 1.0e6;
  std::string rope_type = "default";
  double rope_factor = 8.0;
  double rope_low_freq_factor = 1.0;
  double rope_high_freq_factor = 4.0;
  std::int64_t rope_original_max_position_embeddings = 8192;
  double rope_beta_fast = 32.0;
  double rope_beta_slow = 1.0;
  double rope_attention_factor = 0.0;
  double rope_mscale = 0.0;
  double rope_mscale_all_dim = 0.0;
  bool rope_truncate = true;
  double rms_norm_eps = 1.0e-6;
  double initializer_range = 0.02;
  std::int64_t max_position_embeddings = 40960;
  std::string initial_weights = "";
  std::int64_t bos_token_id = -1;
  std::vector<std::int64_t> eos_token_id;
  std::int64_t pad_token_id = -1;
  std::string generation_config = "";

  template <class Self, class Visit>
  static void describe(Self& p, Visit&& visit) {
    visit(Field{.name = "file",
                .meaning = "model file whose [model] table is read first; relative to this file",
                .is_path = true,
                .changes = Changes::nothing},
          p.file);
    visit(Field{.name = "model_type",
                .meaning = "family: decides norm, positions, MLP, biases and QK-norm "
                           "(src/model/families.hpp)",
                .choices = {"qwen3", "qwen3_moe", "llama", "gpt2"},
                .changes = Changes::shapes},
          p.model_type);
    visit(Field{.name = "vocab_size",
                .meaning = "rows of the embedding (V)",
                .min = 2,
                .max = 4294967294.0,
                .changes = Changes::shapes},
          p.vocab_size);
    visit(Field{.name = "hidden_size",
                .meaning = "width of the residual stream (H)",
                .min = 1,
                .max = 1 << 20,
                .changes = Changes::shapes},
          p.hidden_size);
    visit(Field{.name = "intermediate_size",
                .meaning = "width of the dense MLP (F); qwen3_moe: 0 where every block has experts",
                .min = 0,
                .max = 1 << 22,
                .changes = Changes::shapes},
          p.intermediate_size);
    visit(Field{.name = "num_hidden_layers",
                .meaning = "blocks (L)",
                .min = 1,
                .max = 10000,
                .changes = Changes::shapes},
          p.num_hidden_layers);
    visit(Field{.name = "num_attention_heads",
                .meaning = "query heads (A)",
                .min = 1,
                .max = 65536,
                .changes = Changes::function},
          p.num_attention_heads);
    visit(Field{.name = "num_key_value_heads",
                .meaning = "key/value heads (K), divides A; 0: as many as query heads",
                .min = 0,
                .max = 65536,
                .changes = Changes::function},
          p.num_key_value_heads);
    visit(Field{.name = "head_dim",
                .meaning = "width of a head (D), even; A*D need not equal H; 0: H/A",
                .min = 0,
                .max = 1024,
                .changes = Changes::function},
          p.head_dim);
    visit(Field{.name = "tie_word_embeddings",
                .meaning = "embedding and LM head are one weight",
                .changes = Changes::shapes},
          p.tie_word_embeddings);
    visit(Field{.name = "num_experts",
                .meaning = "qwen3_moe: experts of a sparse block (E)",
                .min = 0,
                .max = 65536,
                .changes = Changes::shapes},
          p.num_experts);
    visit(Field{.name = "num_experts_per_tok",
                .meaning = "qwen3_moe: experts that a token is sent to (k)",
                .min = 0,
                .max = 64,
                .changes = Changes::function},
          p.num_experts_per_tok);
    visit(Field{.name = "moe_intermediate_size",
                .meaning = "qwen3_moe: width of an expert (Fe)",
                .min = 0,
                .max = 1 << 22,
                .changes = Changes::shapes},
          p.moe_intermediate_size);
    visit(Field{.name = "norm_topk_prob",
                .meaning = "qwen3_moe: the weights of a token's experts are divided by their sum",
                .changes = Changes::function},
          p.norm_topk_prob);
    visit(Field{.name = "decoder_sparse_step",
                .meaning = "qwen3_moe: every n-th block has experts, the n-th first",
                .min = 1,
                .max = 10000,
                .changes = Changes::shapes},
          p.decoder_sparse_step);
    visit(Field{.name = "mlp_only_layers",
                .meaning = "qwen3_moe: blocks, from 0, that have a dense MLP all the same",
                .min = 0,
                .max = 10000,
                .changes = Changes::shapes},
          p.mlp_only_layers);
    visit(Field{.name = "router_aux_loss_coef",
                .meaning = "qwen3_moe: coefficient of the balance loss, unless "
                           "experts.balance_coefficient says another",
                .min = 0,
                .changes = Changes::course},
          p.router_aux_loss_coef);
    visit(Field{.name = "rope_theta",
                .meaning = "base of the rotary position embedding",
                .min = 1.0,
                .changes = Changes::function},
          p.rope_theta);
    visit(Field{.name = "rope_type",
                .meaning = "frequencies as they are, or changed for longer sequences as "
                           "transformers does under this name; the other rope_ keys have a "
                           "meaning only for the types that they name",
                .choices = {"default", "linear", "dynamic", "yarn", "llama3"},
                .changes = Changes::function},
          p.rope_type);
    visit(Field{.name = "rope_factor",
                .meaning = "all but default: long wavelengths are stretched by this (dynamic: the "
                           "more, the longer the sequence)",
                .min = 1,
                .changes = Changes::function},
          p.rope_factor);
    visit(Field{.name = "rope_low_freq_factor",
                .meaning = "llama3: wavelengths above original / this are stretched whole",
                .min = 1.0e-6,
                .changes = Changes::function},
          p.rope_low_freq_factor);
    visit(Field{.name = "rope_high_freq_factor",
                .meaning = "llama3: wavelengths below original / this stay as they are",
                .min = 1.0e-6,
                .changes = Changes::function},
          p.rope_high_freq_factor);
    visit(Field{.name = "rope_original_max_position_embeddings",
                .unit = "tokens",
                .meaning = "yarn, llama3: context length before the stretching (dynamic: "
                           "max_position_embeddings is)",
                .min = 1,
                .changes = Changes::function},
          p.rope_original_max_position_embeddings);
    visit(Field{.name = "rope_beta_fast",
                .meaning = "yarn: frequencies that turn more often than this within the original "
                           "length stay as they are",
                .min = 1.0e-6,
                .changes = Changes::function},
          p.rope_beta_fast);
    visit(Field{.name = "rope_beta_slow",
                .meaning = "yarn: frequencies that turn less often than this are divided whole",
                .min = 1.0e-6,
                .changes = Changes::function},
          p.rope_beta_slow);
    visit(Field{.name = "rope_attention_factor",
                .meaning = "yarn: factor of cosines and sines; 0: 0.1 ln(rope_factor) + 1, or what "
                           "the two keys below say",
                .min = 0,
                .changes = Changes::function},
          p.rope_attention_factor);
    visit(Field{.name = "rope_mscale",
                .meaning = "yarn: with rope_mscale_all_dim the attention factor is (0.1 mscale "
                           "ln(rope_factor) + 1) / (the same with mscale_all_dim); 0: not used",
                .min = 0,
                .changes = Changes::function},
          p.rope_mscale);
    visit(Field{.name = "rope_mscale_all_dim",
                .meaning = "yarn: see rope_mscale",
                .min = 0,
                .changes = Changes::function},
          p.rope_mscale_all_dim);
    visit(Field{.name = "rope_truncate",
                .meaning = "yarn: the range of frequencies that are blended begins and ends at "
                           "whole indices",
                .changes = Changes::function},
          p.rope_truncate);
    visit(Field{.name = "rms_norm_eps",
                .meaning = "epsilon of every RMSNorm (gpt2: of every LayerNorm)",
                .min = 0,
                .max = 1,
                .changes = Changes::function},
          p.rms_norm_eps);
    visit(Field{.name = "initializer_range",
                .meaning = "standard deviation of initial matrices",
                .min = 0,
                .max = 100,
                .changes = Changes::start},
          p.initializer_range);
    visit(Field{.name = "max_position_embeddings",
                .unit = "tokens",
                .meaning = "longest sequence the model is meant for (gpt2: rows of the learned "
                           "positions)",
                .min = 1,
                .changes = Changes::function},
          p.max_position_embeddings);
    visit(Field{.name = "initial_weights",
                .meaning = "Hugging Face folder or checkpoint whose weights a new run starts from; "
                           "empty: random from training.seed",
                .is_path = true,
                .changes = Changes::start},
          p.initial_weights);
    // What a Hugging Face folder says beside the architecture: kept from convert to convert.
    visit(Field{.name = "bos_token_id",
                .meaning = "of an imported model, for its export; -1: not known",
                .min = -1,
                .max = 4294967295.0,
                .changes = Changes::nothing},
          p.bos_token_id);
    visit(Field{.name = "eos_token_id",
                .meaning = "of an imported model: tokens that end a text, at which generate stops, "
                           "as at the separator of documents",
                .min = 0,
                .max = 4294967295.0,
                .changes = Changes::nothing},
          p.eos_token_id);
    visit(Field{.name = "pad_token_id",
                .meaning = "of an imported model, for its export; -1: not known",
                .min = -1,
                .max = 4294967295.0,
                .changes = Changes::nothing},
          p.pad_token_id);
    visit(Field{.name = "generation_config",
                .meaning = "generation_config.json of an imported model, as text: its eos_token_id "
                           "counts, too",
                .changes = Changes::nothing},
          p.generation_config);
  }
};

/// Whether a key of RoPE means something for a type; rope_theta and rope_type do for every one.
bool rope_key_has_meaning(std::string_view rope_type, std::string_view key);
/// Whether a key of [model] is part of what this model computes: those of RoPE for types that have
/// them, those of experts and of dense MLPs for models that have such blocks,
/// max_position_embeddings where positions are learned or the formula asks for it.
bool key_has_meaning(const ModelParameters& model, std::string_view key);
/// Longest sequence that the model is meant for: max_position_embeddings, or what the scaling of
/// RoPE stretches the original length to, whichever is more.
std::int64_t longest_sequence(const ModelParameters& model);

}  // namespace espalier::config
