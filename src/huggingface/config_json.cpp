#include "huggingface/config_json.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <span>

#include "base/error.hpp"
#include "config/changes.hpp"
#include "config/experts.hpp"
#include "huggingface/family_names.hpp"
#include "huggingface/strict_json.hpp"

namespace espalier::huggingface {
namespace {

using config::ModelParameters;
using nlohmann::json;
namespace fs = std::filesystem;

/// A key whose other values would change the numbers.
struct Requirement {
  const char* key;
  json only;  ///< the value that is computed; null and absent are as good
};

const std::array kOfEveryFamily = {
    Requirement{"quantization_config", nullptr},    Requirement{"is_encoder_decoder", false},
    Requirement{"add_cross_attention", false},      Requirement{"n_routed_experts", 0},
    Requirement{"attn_logit_softcapping", nullptr}, Requirement{"final_logit_softcapping", nullptr},
    Requirement{"pruned_heads", json::object()},
};
const std::array kOfDenseFamilies = {
    Requirement{"num_experts", 0},
    Requirement{"num_local_experts", 0},
};
const std::array kOfRopeFamilies = {
    Requirement{"attention_bias", false}, Requirement{"mlp_bias", false},
    Requirement{"pretraining_tp", 1},     Requirement{"use_sliding_window", false},
    Requirement{"use_qk_norm", false},    Requirement{"partial_rotary_factor", 1},
};
/// Sizes of a config.json that does not give them: those of transformers' class.
struct Defaults {
  std::string_view model_type;
  std::int64_t vocab_size, hidden_size, intermediate_size, num_hidden_layers, num_key_value_heads;
  std::int64_t head_dim;  ///< 0: derived
  std::int64_t max_position_embeddings;
};
constexpr std::array kDefaults = {
    Defaults{"qwen3", 151936, 4096, 22016, 32, 32, 128, 32768},
    Defaults{"qwen3_moe", 151936, 2048, 6144, 24, 4, 0, 32768},
    Defaults{"llama", 32000, 4096, 11008, 32, 0, 0, 2048},
};
/// What transformers computes for these is computed here, too.
constexpr std::array<std::string_view, 4> kRopeTypes = {"linear", "dynamic", "yarn", "llama3"};
const std::array kOfGpt2 = {
    Requirement{"scale_attn_weights", true},
    Requirement{"scale_attn_by_inverse_layer_idx", false},
};

/// Reads one config.json and collects everything that is wrong with it.
class Reader {
 public:
  Reader(const fs::path& file, std::string_view text)
      : file_(file), root_(parse_object(file, text)) {}

  ModelParameters read() {
    read_family();
    throw_if_any();  // the other keys have a meaning only within a family
    refuse_others(kOfEveryFamily);
    if (!config::has_experts(model_)) refuse_others(kOfDenseFamilies);
    if (model_.model_type == "gpt2")
      read_gpt2();
    else
      read_rope_family();
    check_ranges();
    throw_if_any();
    return model_;
  }

 private:
  void problem(const std::string& what) { problems_ += "\n  " + what; }
  void throw_if_any() const {
    require(problems_.empty(), ExitStatus::bad_data, "{} is not of a model that can be used:{}",
            file_.string(), problems_);
  }

  /// The value of a key; nullptr when it is absent or null.
  static const json* find(const json& object, const char* key) {
    const auto found = object.find(key);
    return found == object.end() || found->is_null() ? nullptr : &*found;
  }

  void read_family() {
    const json* type = find(root_, "model_type");
    const FamilyNames* family =
        type != nullptr && type->is_string() ? family_of(type->get<std::string>()) : nullptr;
    if (family == nullptr)
      return problem(fmt::format("model_type is {}; qwen3, qwen3_moe, llama and gpt2 are supported",
                                 type == nullptr ? "not given" : shown(*type)));
    model_.model_type = family->model_type;
    const json* architectures = find(root_, "architectures");
    if (architectures == nullptr) return;
    if (!architectures->is_array())
      return problem(fmt::format("architectures is {}, not a list", shown(*architectures)));
    for (const json& name : *architectures)
      if (name != family->causal_lm && name != family->base)
        problem(fmt::format("architectures names {}; for {} only {} is supported", shown(name),
                            family->model_type, family->causal_lm));
  }

  void refuse_others(std::span<const Requirement> requirements) {
    for (const auto& [key, only] : requirements) {
      const json* value = find(root_, key);
      if (value == nullptr || *value == only) continue;
      problem(fmt::format("{} = {} is not supported (only {})", key, shown(*value),
                          only.is_null() ? "without it" : only.dump()));
    }
  }

  template <std::size_t N>
  void refuse_others(const std::array<Requirement, N>& requirements) {
    refuse_others(std::span<const Requirement>(requirements));
  }

  void set(const json& object, const char* key, std::int64_t& value) {
    const json* found = find(object, key);
    if (found == nullptr) return;
    // Some files have 32768.0 where an integer is meant.
    if (found->is_number_float() && std::abs(found->get<double>()) < 9.0e15 &&
        std::floor(found->get<double>()) == found->get<double>()) {
      value = static_cast<std::int64_t>(found->get<double>());
    } else if (found->is_number_integer() &&
               (!found->is_number_unsigned() ||
                found->get<std::uint64_t>() <=
                    static_cast<std::uint64_t>(std::numeric_limits<std::int64_t>::max()))) {
      value = found->get<std::int64_t>();
    } else {
      problem(fmt::format("{} = {} is not an integer", key, shown(*found)));
    }
  }
  void set(const json& object, const char* key, double& value) {
    const json* found = find(object, key);
    if (found == nullptr) return;
    if (!found->is_number())
      return problem(fmt::format("{} = {} is not a number", key, shown(*found)));
    value = found->get<double>();
  }
  void set(const json& object, const char* key, bool& value) {
    const json* found = find(object, key);
    if (found == nullptr) return;
    if (!found->is_boolean())
      return problem(fmt::format("{} = {} is not true or false", key, shown(*found)));
    value = found->get<bool>();
  }
  /// `key` or, when it is absent, the name that transformers maps to it.
  void set_either(const char* key, const char* mapped, std::int64_t& value) {
    set(root_, find(root_, key) != nullptr ? key : mapped, value);
  }

  void read_rope_family() {
    refuse_others(kOfRopeFamilies);
    const json* activation = find(root_, "hidden_act");
    // Two names of the same function in transformers.
    if (activation != nullptr && *activation != "silu" && *activation != "swish")
      problem(fmt::format("hidden_act = {} is not supported (only silu)", shown(*activation)));
    if (const json* types = find(root_, "layer_types"); types != nullptr) {
      if (!types->is_array()) problem(fmt::format("layer_types is {}", shown(*types)));
      for (const json& type : *types)
        if (type != "full_attention") {
          problem(
              fmt::format("layer_types names {}; only full_attention is supported", shown(type)));
          break;
        }
    }
    // Null, unlike absent, means "derived" for the last two.
    const Defaults& defaults =
        *std::ranges::find(kDefaults, model_.model_type, &Defaults::model_type);
    model_.vocab_size = defaults.vocab_size;
    model_.hidden_size = defaults.hidden_size;
    model_.intermediate_size = defaults.intermediate_size;
    model_.num_hidden_layers = defaults.num_hidden_layers;
    model_.num_attention_heads = 32;
    model_.max_position_embeddings = defaults.max_position_embeddings;
    model_.rms_norm_eps = 1.0e-6;
    model_.num_key_value_heads =
        root_.contains("num_key_value_heads") ? 0 : defaults.num_key_value_heads;
    model_.head_dim = root_.contains("head_dim") ? 0 : defaults.head_dim;
    set(root_, "vocab_size", model_.vocab_size);
    set(root_, "hidden_size", model_.hidden_size);
    set(root_, "intermediate_size", model_.intermediate_size);
    set(root_, "num_hidden_layers", model_.num_hidden_layers);
    set(root_, "num_attention_heads", model_.num_attention_heads);
    set(root_, "num_key_value_heads", model_.num_key_value_heads);
    set(root_, "head_dim", model_.head_dim);
    set(root_, "max_position_embeddings", model_.max_position_embeddings);
    set(root_, "rms_norm_eps", model_.rms_norm_eps);
    set(root_, "initializer_range", model_.initializer_range);
    set(root_, "tie_word_embeddings", model_.tie_word_embeddings);
    if (config::has_experts(model_)) read_experts();
    read_rope();
  }

  /// Transformers 5 writes num_local_experts alone, transformers 4 num_experts.
  void read_experts() {
    ModelParameters& m = model_;
    m.num_experts = 128;
    m.num_experts_per_tok = 8;
    m.moe_intermediate_size = 768;
    set_either("num_experts", "num_local_experts", m.num_experts);
    std::int64_t other = m.num_experts;
    set(root_, "num_local_experts", other);
    if (other != m.num_experts)
      problem(fmt::format("num_experts = {}, but num_local_experts = {}", m.num_experts, other));
    set(root_, "num_experts_per_tok", m.num_experts_per_tok);
    set(root_, "moe_intermediate_size", m.moe_intermediate_size);
    set(root_, "norm_topk_prob", m.norm_topk_prob);
    set(root_, "decoder_sparse_step", m.decoder_sparse_step);
    set(root_, "router_aux_loss_coef", m.router_aux_loss_coef);
    const json* layers = find(root_, "mlp_only_layers");
    if (layers == nullptr) return;
    if (!layers->is_array())
      return problem(fmt::format("mlp_only_layers = {} is not a list", shown(*layers)));
    for (const json& layer : *layers) {
      std::int64_t number = -1;
      set({{"mlp_only_layers", layer}}, "mlp_only_layers", number);
      // What names no block has no effect.
      if (number < 0 || number < m.num_hidden_layers) m.mlp_only_layers.push_back(number);
    }
  }

  /// rope_scaling wins over rope_parameters as in transformers 5; a rope_theta within either wins
  /// over the one at the top level, but two that differ are refused.
  void read_rope() {
    model_.rope_theta = 10000.0;
    set(root_, "rope_theta", model_.rope_theta);
    const json* rope = find(root_, "rope_scaling");
    if (rope == nullptr || (rope->is_object() && rope->empty()))
      rope = find(root_, "rope_parameters");
    if (rope == nullptr) return;
    if (!rope->is_object())
      return problem(fmt::format("rope_scaling or rope_parameters is {}", shown(*rope)));
    const double at_top = model_.rope_theta;
    set(*rope, "rope_theta", model_.rope_theta);
    const json* other = find(root_, "rope_parameters");
    double in_other = model_.rope_theta;
    if (other != nullptr && other->is_object() && other != rope)
      set(*other, "rope_theta", in_other);
    if (find(*rope, "rope_theta") == nullptr && find(root_, "rope_theta") == nullptr)
      model_.rope_theta = in_other;
    if ((find(root_, "rope_theta") != nullptr && at_top != model_.rope_theta) ||
        in_other != model_.rope_theta)
      problem(fmt::format("rope_theta is {} in one place and {} in another",
                          at_top != model_.rope_theta ? at_top : in_other, model_.rope_theta));
    const json* partial = find(*rope, "partial_rotary_factor");
    if (partial != nullptr && *partial != 1)
      problem(fmt::format("partial_rotary_factor = {} is not supported (only 1)", shown(*partial)));

    const json* type = find(*rope, "rope_type");
    if (type == nullptr) type = find(*rope, "type");  // its name before transformers 4.43
    if (type == nullptr || *type == "default") return;
    if (!type->is_string() ||
        std::ranges::find(kRopeTypes, type->get<std::string>()) == std::end(kRopeTypes))
      return problem(
          fmt::format("rope_type = {} is not supported (default, linear, dynamic, yarn or llama3)",
                      shown(*type)));
    model_.rope_type = type->get<std::string>();
    read_rope_scaling(*rope);
  }

  /// What transformers' function of the type asks for, and the defaults of its other keys.
  void read_rope_scaling(const json& rope) {
    ModelParameters& m = model_;
    const bool is_yarn = m.rope_type == "yarn";
    for (const char* key : {"factor", "low_freq_factor", "high_freq_factor"}) {
      const bool asked_for = std::string_view(key) == "factor" || m.rope_type == "llama3";
      // YaRN's factor may be null, and is then the ratio of the two lengths.
      if (asked_for && find(rope, key) == nullptr && !(is_yarn && rope.contains(key)))
        problem(fmt::format("rope_type = \"{}\" without {}", m.rope_type, key));
    }
    set(rope, "factor", m.rope_factor);
    if (config::rope_key_has_meaning(m.rope_type, "rope_original_max_position_embeddings")) {
      m.rope_original_max_position_embeddings = m.max_position_embeddings;
      // The one at the top level wins, as in transformers.
      const bool at_top = find(root_, "original_max_position_embeddings") != nullptr;
      set(at_top ? root_ : rope, "original_max_position_embeddings",
          m.rope_original_max_position_embeddings);
    }
    if (m.rope_type == "llama3") {
      set(rope, "low_freq_factor", m.rope_low_freq_factor);
      set(rope, "high_freq_factor", m.rope_high_freq_factor);
    }
    if (!is_yarn) return;
    if (find(rope, "factor") == nullptr && m.rope_original_max_position_embeddings > 0)
      m.rope_factor = static_cast<double>(m.max_position_embeddings) /
                      static_cast<double>(m.rope_original_max_position_embeddings);
    // Zero is as good as absent for the betas and the two scales, but not for attention_factor.
    set(rope, "beta_fast", m.rope_beta_fast);
    if (m.rope_beta_fast == 0.0) m.rope_beta_fast = ModelParameters{}.rope_beta_fast;
    set(rope, "beta_slow", m.rope_beta_slow);
    if (m.rope_beta_slow == 0.0) m.rope_beta_slow = ModelParameters{}.rope_beta_slow;
    set(rope, "attention_factor", m.rope_attention_factor);
    if (find(rope, "attention_factor") != nullptr && m.rope_attention_factor == 0.0)
      problem("attention_factor = 0 makes every query and key zero");
    set(rope, "mscale", m.rope_mscale);
    set(rope, "mscale_all_dim", m.rope_mscale_all_dim);
    set(rope, "truncate", m.rope_truncate);
    if (rope.contains("truncate") && rope["truncate"].is_null()) m.rope_truncate = false;
  }

  void read_gpt2() {
    refuse_others(kOfGpt2);
    const json* activation = find(root_, "activation_function");
    // Two names of the same formula in transformers.
    if (activation != nullptr && *activation != "gelu_new" && *activation != "gelu_pytorch_tanh")
      problem(fmt::format("activation_function = {} is not supported (only gelu_new)",
                          shown(*activation)));
    // Defaults of GPT2Config.
    model_.vocab_size = 50257;
    model_.hidden_size = 768;
    model_.num_hidden_layers = 12;
    model_.num_attention_heads = 12;
    model_.max_position_embeddings = 1024;
    model_.rms_norm_eps = 1.0e-5;
    model_.tie_word_embeddings = true;
    set(root_, "vocab_size", model_.vocab_size);
    set_either("n_embd", "hidden_size", model_.hidden_size);
    set_either("n_layer", "num_hidden_layers", model_.num_hidden_layers);
    set_either("n_head", "num_attention_heads", model_.num_attention_heads);
    set_either("n_positions", "max_position_embeddings", model_.max_position_embeddings);
    set(root_, "layer_norm_epsilon", model_.rms_norm_eps);
    set(root_, "initializer_range", model_.initializer_range);
    set(root_, "tie_word_embeddings", model_.tie_word_embeddings);
    model_.intermediate_size =
        model_.hidden_size > 0 && model_.hidden_size < (1 << 20) ? 4 * model_.hidden_size : 0;
    set(root_, "n_inner", model_.intermediate_size);
  }

  /// The ranges of [model], and what the sizes must be to one another.
  void check_ranges() {
    ModelParameters::describe(model_, [&](const config::Field& field, const auto& value) {
      if (const std::string wrong = config::violation(field, value); !wrong.empty())
        problem(fmt::format("{} = {} {}", field.name, config::toml_value(value), wrong));
    });
    if (!problems_.empty()) return;
    ModelParameters& m = model_;
    if (m.num_key_value_heads == 0) m.num_key_value_heads = m.num_attention_heads;
    if (m.num_attention_heads % m.num_key_value_heads != 0)
      problem(fmt::format("num_key_value_heads = {} does not divide num_attention_heads = {}",
                          m.num_key_value_heads, m.num_attention_heads));
    if (m.head_dim == 0) {
      if (m.hidden_size % m.num_attention_heads != 0)
        problem(
            fmt::format("hidden_size = {} is no multiple of num_attention_heads = {}, and "
                        "there is no head_dim",
                        m.hidden_size, m.num_attention_heads));
      m.head_dim = m.hidden_size / m.num_attention_heads;
    }
    if (m.head_dim == 0 || m.head_dim % 2 != 0)
      problem(fmt::format("head_dim = {} is not even", m.head_dim));
    if (config::has_dense_blocks(m) && m.intermediate_size == 0)
      problem("intermediate_size = 0 must be at least 1");
    if (config::has_experts(m)) check_experts();
    if (m.rms_norm_eps <= 0.0)
      problem(fmt::format("the epsilon {} is not above 0", m.rms_norm_eps));
  }

  void check_experts() {
    const ModelParameters& m = model_;
    if (m.num_experts == 0) problem("num_experts = 0 must be at least 1");
    if (m.moe_intermediate_size == 0) problem("moe_intermediate_size = 0 must be at least 1");
    if (m.num_experts_per_tok == 0 || m.num_experts_per_tok > m.num_experts)
      problem(fmt::format("num_experts_per_tok = {} is not 1 to num_experts = {}",
                          m.num_experts_per_tok, m.num_experts));
    if (config::num_sparse_blocks(m) == 0)
      problem(
          fmt::format("decoder_sparse_step = {} and mlp_only_layers leave no block with experts; "
                      "such a model is one of model_type qwen3",
                      m.decoder_sparse_step));
  }

  fs::path file_;
  json root_;
  ModelParameters model_;
  std::string problems_;
};

}  // namespace

ModelParameters read_config(const fs::path& file, std::string_view text) {
  return Reader(file, text).read();
}

std::string differences(const ModelParameters& there, const ModelParameters& here,
                        std::span<const std::string> allowed) {
  std::string text;
  for (const config::Change& change : config::changes_of_model(there, here))
    if (std::find(allowed.begin(), allowed.end(), change.key) == allowed.end())
      text += fmt::format("{}{}: {} there, {} here", text.empty() ? "" : "\n  ",
                          change.key.substr(change.key.find('.') + 1), change.before, change.now);
  return text;
}

}  // namespace espalier::huggingface
