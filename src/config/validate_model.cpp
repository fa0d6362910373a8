// The model's sizes, alone.
#include "config/problems.hpp"

namespace espalier::config {
namespace {

/// Llama 3.1's scaling divides by the distance of its two factors, and has four keys of its own.
void check_rope(const ModelParameters& m, Problems& problems) {
  if (m.rope_type == "llama3") {
    if (m.rope_high_freq_factor <= m.rope_low_freq_factor)
      problems.add(
          "model.rope_high_freq_factor = {} must be above model.rope_low_freq_factor = {}: "
          "frequencies between the two are blended (Llama 3.1 has 4 and 1)",
          m.rope_high_freq_factor, m.rope_low_freq_factor);
    return;
  }
  const ModelParameters standard;
  if (m.rope_factor != standard.rope_factor ||
      m.rope_low_freq_factor != standard.rope_low_freq_factor ||
      m.rope_high_freq_factor != standard.rope_high_freq_factor ||
      m.rope_original_max_position_embeddings != standard.rope_original_max_position_embeddings)
    problems.add(
        "model.rope_factor = {}, rope_low_freq_factor = {}, rope_high_freq_factor = {} and "
        "rope_original_max_position_embeddings = {} have no meaning for model.rope_type = \"{}\": "
        "remove them, or set model.rope_type = \"llama3\"",
        m.rope_factor, m.rope_low_freq_factor, m.rope_high_freq_factor,
        m.rope_original_max_position_embeddings, m.rope_type);
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
  if (m.rms_norm_eps <= 0.0)
    problems.add("model.rms_norm_eps = {} must be above 0: a zero row would divide by zero",
                 m.rms_norm_eps);
}

}  // namespace espalier::config
