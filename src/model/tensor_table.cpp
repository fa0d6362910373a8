#include "model/tensor_table.hpp"

#include "base/error.hpp"
#include "base/integers.hpp"

namespace espalier::model {
namespace {

using parallel::GradientSum;
using parallel::Init;
using parallel::ShardRule;
using parallel::TensorSpec;

TensorSpec matrix(std::string name, std::int64_t rows, std::int64_t cols, ShardRule shard,
                  int layer) {
  return {.name = std::move(name), .rows = rows, .cols = cols, .shard = shard, .layer = layer};
}

/// RMSNorm weight: starts at one, never decays, is whole on every tensor rank.
TensorSpec norm(std::string name, std::int64_t size, GradientSum gradient_sum, int layer) {
  return {.name = std::move(name),
          .rows = size,
          .is_vector = true,
          .init = Init::ones,
          .weight_decay = false,
          .gradient_sum = gradient_sum,
          .layer = layer};
}

}  // namespace

std::vector<TensorSpec> tensor_table(const Architecture& a) {
  const std::int64_t H = a.hidden_size, F = a.intermediate, V = a.vocab_size;
  const std::int64_t AD = a.num_heads * a.head_dim, KD = a.num_kv_heads * a.head_dim;

  std::vector<TensorSpec> table;
  table.reserve(static_cast<std::size_t>(a.num_layers) * 11 + 3);
  table.push_back(matrix("model.embed_tokens.weight", V, H, ShardRule::vocab_rows, -1));

  for (int layer = 0; layer < narrow<int>(a.num_layers); ++layer) {
    const auto name = [&](const char* part) {
      return fmt::format("model.layers.{}.{}.weight", layer, part);
    };
    const auto key_or_value = [&](const char* part) {
      TensorSpec spec = matrix(name(part), KD, H, ShardRule::kv_rows, layer);
      spec.num_kv_heads = a.num_kv_heads;
      spec.gradient_sum = GradientSum::kv_replicas;
      return spec;
    };

    table.push_back(norm(name("input_layernorm"), H, GradientSum::sequence_parallel, layer));
    table.push_back(matrix(name("self_attn.q_proj"), AD, H, ShardRule::rows, layer));
    table.push_back(key_or_value("self_attn.k_proj"));
    table.push_back(key_or_value("self_attn.v_proj"));
    table.push_back(matrix(name("self_attn.o_proj"), H, AD, ShardRule::columns, layer));
    if (a.qk_norm) {
      table.push_back(norm(name("self_attn.q_norm"), a.head_dim, GradientSum::tensor, layer));
      table.push_back(norm(name("self_attn.k_norm"), a.head_dim, GradientSum::tensor, layer));
    }
    table.push_back(
        norm(name("post_attention_layernorm"), H, GradientSum::sequence_parallel, layer));
    table.push_back(matrix(name("mlp.gate_proj"), F, H, ShardRule::rows, layer));
    table.push_back(matrix(name("mlp.up_proj"), F, H, ShardRule::rows, layer));
    table.push_back(matrix(name("mlp.down_proj"), H, F, ShardRule::columns, layer));
  }

  table.push_back(norm("model.norm.weight", H, GradientSum::sequence_parallel, -1));
  if (!a.tied) table.push_back(matrix("lm_head.weight", V, H, ShardRule::vocab_rows, -1));
  return table;
}

}  // namespace espalier::model
