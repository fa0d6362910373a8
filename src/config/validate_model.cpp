// The model's sizes, alone.
#include <algorithm>
#include <cmath>

#include "config/experts.hpp"
#include "config/problems.hpp"
#include "config/sequence_limit.hpp"

namespace espalier::config {
namespace {

/// What the formula of each type divides by, and keys that another type has.
void check_rope(const ModelParameters& m, Problems& problems) {
  if (m.rope_type == "llama3" && m.rope_high_freq_factor <= m.rope_low_freq_factor)
    problems.add(
        "model.rope_high_freq_factor = {} must be above model.rope_low_freq_factor = {}: "
        "frequencies between the two are blended (Llama 3.1 has 4 and 1)",
        m.rope_high_freq_factor, m.rope_low_freq_factor);
  if (m.rope_type == "yarn" && m.rope_beta_fast < m.rope_beta_slow)
    problems.add(
        "model.rope_beta_fast = {} must not be below model.rope_beta_slow = {}: frequencies "
        "between the two are blended (usual are 32 and 1)",
        m.rope_beta_fast, m.rope_beta_slow);
  if (m.rope_type == "yarn" && m.rope_theta <= 1.0)
    problems.add("model.rope_theta = {} must be above 1 for model.rope_type = \"yarn\"",
                 m.rope_theta);
  if (m.rope_type == "dynamic" && m.head_dim == 2)
    problems.add(
        "model.head_dim = 2 does not fit model.rope_type = \"dynamic\", which takes the power "
        "D / (D - 2): use larger heads, or another type");
  const ModelParameters standard;
  std::vector<std::string> values;
  ModelParameters::describe(
      standard, [&](const Field&, const auto& value) { values.push_back(toml_value(value)); });
  std::string strangers;
  std::size_t i = 0;
  ModelParameters::describe(m, [&](const Field& field, const auto& value) {
    const std::string own = toml_value(value);
    const bool is_default = own == values[i++];
    if (field.name.starts_with("rope_") && !is_default &&
        !rope_key_has_meaning(m.rope_type, field.name))
      strangers += fmt::format("{}{} = {}", strangers.empty() ? "" : ", ", field.name, own);
  });
  if (!strangers.empty())
    problems.add(
        "model.rope_type = \"{}\" gives no meaning to model.{}: remove what does not belong to it, "
        "or set model.rope_type to the type that is meant (espalier help parameters)",
        m.rope_type, strangers);
}

/// Hugging Face's GPT-2 joins q, k and v of H columns each; it has no rotary positions.
void check_gpt2(const ModelParameters& m, Problems& problems) {
  if (m.rope_type != "default")
    problems.add(
        "model.rope_type = \"{}\" does not fit model.model_type = \"gpt2\", whose positions are "
        "learned: remove it",
        m.rope_type);
  if (m.num_key_value_heads != m.num_attention_heads)
    problems.add(
        "model.num_key_value_heads = {} does not fit model.model_type = \"gpt2\", which has one "
        "for each query head: remove it, or use {}",
        m.num_key_value_heads, m.num_attention_heads);
  if (m.head_dim * m.num_attention_heads != m.hidden_size)
    problems.add(
        "model.head_dim = {} does not fit model.model_type = \"gpt2\": {} heads of it are not "
        "model.hidden_size = {}; remove it, or choose a hidden size that the heads divide",
        m.head_dim, m.num_attention_heads, m.hidden_size);
}

}  // namespace

bool rope_key_has_meaning(std::string_view rope_type, std::string_view key) {
  if (key == "rope_theta" || key == "rope_type") return true;
  if (key == "rope_factor") return rope_type != "default";
  if (key == "rope_original_max_position_embeddings")
    return rope_type == "yarn" || rope_type == "llama3";
  const bool of_llama3 = key == "rope_low_freq_factor" || key == "rope_high_freq_factor";
  return rope_type == (of_llama3 ? "llama3" : "yarn");
}

bool key_has_meaning(const ModelParameters& m, std::string_view key) {
  const bool has_rope = m.model_type != "gpt2";
  if (key == "max_position_embeddings") return !has_rope || m.rope_type == "dynamic";
  if (key == "intermediate_size") return has_dense_blocks(m);
  if (is_key_of_experts(key)) return has_experts(m);
  if (key.starts_with("rope_")) return has_rope && rope_key_has_meaning(m.rope_type, key);
  return true;
}

std::int64_t longest_sequence(const ModelParameters& m) {
  if (m.model_type == "gpt2" || m.rope_type == "default") return m.max_position_embeddings;
  const std::int64_t original =
      rope_key_has_meaning(m.rope_type, "rope_original_max_position_embeddings")
          ? m.rope_original_max_position_embeddings
          : m.max_position_embeddings;
  const double stretched = std::floor(m.rope_factor * static_cast<double>(original));
  // Positions are 32-bit integers.
  return std::max(m.max_position_embeddings,
                  static_cast<std::int64_t>(std::min(stretched, 2147483647.0)));
}

std::string describe_longest_sequence(const ModelParameters& m) {
  const std::int64_t longest = longest_sequence(m);
  std::string text = fmt::format("model.max_position_embeddings = {}", m.max_position_embeddings);
  if (longest > m.max_position_embeddings)
    text += fmt::format(" and the {} tokens to which model.rope_factor stretches", longest);
  return text;
}

void resolve_model(ModelParameters& m, Problems& problems) {
  const std::int64_t A = m.num_attention_heads;
  if (m.num_key_value_heads == 0) m.num_key_value_heads = A;
  const std::int64_t K = m.num_key_value_heads;
  if (A % K != 0)
    problems.add(
        "model.num_key_value_heads = {} does not divide model.num_attention_heads = {}: every "
        "key/value head serves the same number of query heads",
        K, A);
  if (m.head_dim == 0) {
    if (m.hidden_size % A != 0)
      problems.add(
          "model.head_dim is not set and model.hidden_size = {} is not a multiple of "
          "model.num_attention_heads = {}: set model.head_dim",
          m.hidden_size, A);
    else
      m.head_dim = m.hidden_size / A;
  }
  if (m.head_dim % 2 != 0)
    problems.add("model.head_dim = {} is odd: {}, use {}", m.head_dim,
                 m.model_type == "gpt2" ? "attention reads a head's elements in pairs"
                                        : "rotary position embedding turns pairs of elements",
                 either({m.head_dim - 1, m.head_dim + 1}));
  m.model_type == "gpt2" ? check_gpt2(m, problems) : check_rope(m, problems);
  check_experts(m, problems);
  if (m.rms_norm_eps <= 0.0)
    problems.add("model.rms_norm_eps = {} must be above 0: a zero row would divide by zero",
                 m.rms_norm_eps);
}

}  // namespace espalier::config
