#include "model/tensor_table.hpp"

#include <cmath>

#include "base/error.hpp"
#include "base/integers.hpp"

namespace espalier::model {
namespace {

using parallel::Init;
using parallel::ShardRule;
using parallel::Span;
using parallel::TensorSpec;
using Role = parallel::WeightRole;

TensorSpec matrix(std::string name, Role role, std::int64_t rows, std::int64_t cols,
                  ShardRule shard, int layer) {
  return {.name = std::move(name),
          .role = role,
          .rows = rows,
          .cols = cols,
          .shard = shard,
          .layer = layer};
}

/// A vector that never decays: norm weights, and biases of norms and linear layers.
TensorSpec vector(std::string name, Role role, std::int64_t size, Init init, Span gradient_span,
                  int layer) {
  return {.name = std::move(name),
          .role = role,
          .rows = size,
          .is_vector = true,
          .init = init,
          .weight_decay = false,
          .gradient_span = gradient_span,
          .layer = layer};
}

/// RMSNorm weight: starts at one, is whole on every tensor rank.
TensorSpec norm(std::string name, Role role, std::int64_t size, Span gradient_span, int layer) {
  return vector(std::move(name), role, size, Init::ones, gradient_span, layer);
}

TensorSpec bias_of(TensorSpec vector) {
  vector.is_bias = true;
  return vector;
}

/// Key and value rows, replicated when there are more tensor ranks than heads.
TensorSpec kv_rows(TensorSpec spec, const Architecture& a) {
  spec.shard = ShardRule::kv_rows;
  spec.num_kv_heads = a.num_kv_heads;
  spec.gradient_span = Span::kv_tokens;
  return spec;
}

/// The router acts on the tokens that a rank has, as norms do.
void add_experts(std::vector<TensorSpec>& table, const Architecture& a, Span residual, int layer) {
  const std::int64_t H = a.hidden_size, E = a.num_experts, Fe = a.expert_intermediate;
  const std::string mlp = fmt::format("model.layers.{}.mlp.", layer);
  TensorSpec router = matrix(mlp + "gate.weight", Role::router, E, H, ShardRule::none, layer);
  router.gradient_span = residual;
  table.push_back(router);
  const auto experts = [&](const char* part, Role role, std::int64_t rows, std::int64_t cols,
                           std::vector<std::string> file_parts) {
    TensorSpec spec = matrix(mlp + "experts." + part, role, rows, cols, ShardRule::experts, layer);
    spec.gradient_span = Span::expert_data;
    spec.num_experts = E;
    for (const std::string& file_part : file_parts)
      spec.place.expert_parts.push_back(mlp + "experts.{}." + file_part + ".weight");
    table.push_back(spec);
  };
  experts("gate_up_proj", Role::expert_gate_up, E * 2 * Fe, H, {"gate_proj", "up_proj"});
  experts("down_proj", Role::expert_down, E * H, Fe, {"down_proj"});
}

void add_llama_block(std::vector<TensorSpec>& table, const Architecture& a, Span residual,
                     int layer) {
  const std::int64_t H = a.hidden_size, F = a.intermediate;
  const std::int64_t AD = a.num_heads * a.head_dim, KD = a.num_kv_heads * a.head_dim;
  const auto name = [&](const char* part) {
    return fmt::format("model.layers.{}.{}.weight", layer, part);
  };
  const auto key_or_value = [&](const char* part, Role role) {
    return kv_rows(matrix(name(part), role, KD, H, ShardRule::kv_rows, layer), a);
  };
  table.push_back(norm(name("input_layernorm"), Role::attention_norm, H, residual, layer));
  table.push_back(matrix(name("self_attn.q_proj"), Role::query, AD, H, ShardRule::rows, layer));
  table.push_back(key_or_value("self_attn.k_proj", Role::key));
  table.push_back(key_or_value("self_attn.v_proj", Role::value));
  table.push_back(
      matrix(name("self_attn.o_proj"), Role::attention_output, H, AD, ShardRule::columns, layer));
  if (a.qk_norm) {
    table.push_back(
        norm(name("self_attn.q_norm"), Role::query_norm, a.head_dim, Span::tokens, layer));
    table.push_back(
        norm(name("self_attn.k_norm"), Role::key_norm, a.head_dim, Span::tokens, layer));
  }
  table.push_back(norm(name("post_attention_layernorm"), Role::mlp_norm, H, residual, layer));
  if (a.is_sparse(layer)) return add_experts(table, a, residual, layer);
  table.push_back(matrix(name("mlp.gate_proj"), Role::gate, F, H, ShardRule::rows, layer));
  table.push_back(matrix(name("mlp.up_proj"), Role::up, F, H, ShardRule::rows, layer));
  table.push_back(matrix(name("mlp.down_proj"), Role::down, H, F, ShardRule::columns, layer));
}

std::vector<TensorSpec> llama_table(const Architecture& a, Span residual) {
  const std::int64_t H = a.hidden_size, V = a.vocab_size;
  std::vector<TensorSpec> table;
  table.push_back(
      matrix("model.embed_tokens.weight", Role::embedding, V, H, ShardRule::vocab_rows, -1));
  for (int layer = 0; layer < narrow<int>(a.num_layers); ++layer)
    add_llama_block(table, a, residual, layer);
  table.push_back(norm("model.norm.weight", Role::final_norm, H, residual, -1));
  if (!a.tied)
    table.push_back(matrix("lm_head.weight", Role::lm_head, V, H, ShardRule::vocab_rows, -1));
  return table;
}

/// GPT-2's LayerNorm: a weight and a bias.
void add_layer_norm(std::vector<TensorSpec>& table, const std::string& name, Role role,
                    std::int64_t size, Span residual, int layer) {
  table.push_back(vector(name + ".weight", role, size, Init::ones, residual, layer));
  table.push_back(bias_of(vector(name + ".bias", role, size, Init::zeros, residual, layer)));
}

void add_gpt2_block(std::vector<TensorSpec>& table, const Architecture& a, Span residual,
                    int layer) {
  const std::int64_t H = a.hidden_size, F = a.intermediate;
  const std::int64_t AD = a.num_heads * a.head_dim, KD = a.num_kv_heads * a.head_dim;
  const std::string block = fmt::format("transformer.h.{}.", layer);
  // Conv1D: Hugging Face keeps (in, out).
  const auto transposed = [&](const char* part, Role role, std::int64_t rows, std::int64_t cols,
                              ShardRule shard) {
    TensorSpec spec = matrix(block + part + ".weight", role, rows, cols, shard, layer);
    spec.place = {.name = spec.name, .transposed = true, .offset = 0, .total_rows = rows};
    return spec;
  };
  const auto bias = [&](const char* part, Role role, std::int64_t rows, ShardRule shard,
                        Span span) {
    TensorSpec spec = bias_of(vector(block + part + ".bias", role, rows, Init::zeros, span, layer));
    spec.shard = shard;
    return spec;
  };
  // The products that end a branch start smaller, for the sum of 2L branches (Radford et al. 2019).
  const auto ends_branch = [&](TensorSpec spec) {
    spec.init_scale = 1.0 / std::sqrt(2.0 * static_cast<double>(a.num_layers));
    return spec;
  };
  // q, k and v are columns of one matrix there and rows of three here.
  const auto part_of_c_attn = [&](TensorSpec spec, const char* kind, std::int64_t offset) {
    spec.place = {.name = block + "attn.c_attn." + kind,
                  .transposed = !spec.is_vector,
                  .offset = offset,
                  .total_rows = AD + 2 * KD};
    return spec;
  };

  struct KeyOrValue {
    const char* part;
    Role role;
    std::int64_t offset;
  };
  const KeyOrValue keys_and_values[] = {{"attn.c_attn.k", Role::key, AD},
                                        {"attn.c_attn.v", Role::value, AD + KD}};

  add_layer_norm(table, block + "ln_1", Role::attention_norm, H, residual, layer);
  table.push_back(part_of_c_attn(transposed("attn.c_attn.q", Role::query, AD, H, ShardRule::rows),
                                 "weight", 0));
  for (const auto& [part, role, offset] : keys_and_values)
    table.push_back(part_of_c_attn(kv_rows(transposed(part, role, KD, H, ShardRule::kv_rows), a),
                                   "weight", offset));
  table.push_back(part_of_c_attn(
      bias("attn.c_attn.q", Role::query, AD, ShardRule::rows, Span::tokens_shared), "bias", 0));
  for (const auto& [part, role, offset] : keys_and_values)
    table.push_back(part_of_c_attn(
        kv_rows(bias(part, role, KD, ShardRule::kv_rows, Span::kv_tokens), a), "bias", offset));
  table.push_back(
      ends_branch(transposed("attn.c_proj", Role::attention_output, H, AD, ShardRule::columns)));
  table.push_back(bias("attn.c_proj", Role::attention_output, H, ShardRule::none, residual));
  add_layer_norm(table, block + "ln_2", Role::mlp_norm, H, residual, layer);
  table.push_back(transposed("mlp.c_fc", Role::up, F, H, ShardRule::rows));
  table.push_back(bias("mlp.c_fc", Role::up, F, ShardRule::rows, Span::tokens_shared));
  table.push_back(ends_branch(transposed("mlp.c_proj", Role::down, H, F, ShardRule::columns)));
  table.push_back(bias("mlp.c_proj", Role::down, H, ShardRule::none, residual));
}

std::vector<TensorSpec> gpt2_table(const Architecture& a, Span residual) {
  const std::int64_t H = a.hidden_size, V = a.vocab_size;
  std::vector<TensorSpec> table;
  table.push_back(
      matrix("transformer.wte.weight", Role::embedding, V, H, ShardRule::vocab_rows, -1));
  TensorSpec positions = matrix("transformer.wpe.weight", Role::position_embedding, a.max_positions,
                                H, ShardRule::none, -1);
  positions.gradient_span = residual;
  table.push_back(positions);
  for (int layer = 0; layer < narrow<int>(a.num_layers); ++layer)
    add_gpt2_block(table, a, residual, layer);
  add_layer_norm(table, "transformer.ln_f", Role::final_norm, H, residual, -1);
  if (!a.tied)
    table.push_back(matrix("lm_head.weight", Role::lm_head, V, H, ShardRule::vocab_rows, -1));
  return table;
}

}  // namespace

// Rows are names in Hugging Face's files, which follow the family and not its parts.
std::vector<TensorSpec> tensor_table(const Architecture& a, bool sequence_parallel) {
  // Of what acts on the residual stream, which every tensor rank has a part of, or all.
  const Span residual = sequence_parallel ? Span::tokens : Span::tokens_shared;
  return a.model_type == "gpt2" ? gpt2_table(a, residual) : llama_table(a, residual);
}

}  // namespace espalier::model
