#include <catch2/catch.hpp>
#include <map>
#include <set>

#include "model/tensor_table.hpp"
#include "support/architectures.hpp"

using namespace espalier;
using model::tensor_table;
using parallel::GradientSum;
using parallel::Init;
using parallel::ShardRule;
using parallel::TensorSpec;

namespace {

// A*D = 96 is not H.
const test::Sizes kSmall{
    .H = 64, .F = 80, .L = 2, .A = 4, .K = 2, .D = 24, .tied = false, .V = 300};

std::vector<std::string> names(const std::vector<TensorSpec>& table) {
  std::vector<std::string> result;
  for (const TensorSpec& spec : table) result.push_back(spec.name);
  return result;
}

}  // namespace

TEST_CASE("rows carry Hugging Face's names, in its order") {
  test::Sizes one_layer = kSmall;
  one_layer.L = 1;
  CHECK(names(tensor_table(test::qwen3(one_layer))) ==
        std::vector<std::string>{
            "model.embed_tokens.weight",
            "model.layers.0.input_layernorm.weight",
            "model.layers.0.self_attn.q_proj.weight",
            "model.layers.0.self_attn.k_proj.weight",
            "model.layers.0.self_attn.v_proj.weight",
            "model.layers.0.self_attn.o_proj.weight",
            "model.layers.0.self_attn.q_norm.weight",
            "model.layers.0.self_attn.k_norm.weight",
            "model.layers.0.post_attention_layernorm.weight",
            "model.layers.0.mlp.gate_proj.weight",
            "model.layers.0.mlp.up_proj.weight",
            "model.layers.0.mlp.down_proj.weight",
            "model.norm.weight",
            "lm_head.weight",
        });
}

TEST_CASE("a tied model has no LM head, a model without QK-norm no such weights") {
  test::Sizes sizes = kSmall;
  sizes.tied = true;
  const auto tied = names(tensor_table(test::qwen3(sizes)));
  CHECK(std::find(tied.begin(), tied.end(), "lm_head.weight") == tied.end());
  CHECK(tied.size() == 1 + 2 * 11 + 1);

  model::Architecture a = test::qwen3(kSmall);
  a.qk_norm = false;
  CHECK(tensor_table(a).size() == 1 + 2 * 9 + 2);
}

TEST_CASE("shape, shard rule, decay and gradient sum of each weight") {
  struct Row {
    std::int64_t rows, cols;
    ShardRule shard;
    GradientSum sum;
  };
  const std::map<std::string, Row> expected = {
      {"model.embed_tokens.weight", {300, 64, ShardRule::vocab_rows, GradientSum::none}},
      {"model.layers.1.input_layernorm.weight",
       {64, 1, ShardRule::none, GradientSum::sequence_parallel}},
      {"model.layers.1.self_attn.q_proj.weight", {96, 64, ShardRule::rows, GradientSum::none}},
      {"model.layers.1.self_attn.k_proj.weight",
       {48, 64, ShardRule::kv_rows, GradientSum::kv_replicas}},
      {"model.layers.1.self_attn.v_proj.weight",
       {48, 64, ShardRule::kv_rows, GradientSum::kv_replicas}},
      {"model.layers.1.self_attn.o_proj.weight", {64, 96, ShardRule::columns, GradientSum::none}},
      {"model.layers.1.self_attn.q_norm.weight", {24, 1, ShardRule::none, GradientSum::tensor}},
      {"model.layers.1.self_attn.k_norm.weight", {24, 1, ShardRule::none, GradientSum::tensor}},
      {"model.layers.1.post_attention_layernorm.weight",
       {64, 1, ShardRule::none, GradientSum::sequence_parallel}},
      {"model.layers.1.mlp.gate_proj.weight", {80, 64, ShardRule::rows, GradientSum::none}},
      {"model.layers.1.mlp.up_proj.weight", {80, 64, ShardRule::rows, GradientSum::none}},
      {"model.layers.1.mlp.down_proj.weight", {64, 80, ShardRule::columns, GradientSum::none}},
      {"model.norm.weight", {64, 1, ShardRule::none, GradientSum::sequence_parallel}},
      {"lm_head.weight", {300, 64, ShardRule::vocab_rows, GradientSum::none}},
  };
  std::size_t met = 0;
  for (const TensorSpec& spec : tensor_table(test::qwen3(kSmall))) {
    const auto row = expected.find(spec.name);
    if (row == expected.end()) continue;
    INFO(spec.name);
    ++met;
    CHECK(spec.rows == row->second.rows);
    CHECK(spec.cols == row->second.cols);
    CHECK((spec.shard == row->second.shard));
    CHECK((spec.gradient_sum == row->second.sum));
    const bool is_norm = spec.name.find("norm") != std::string::npos;
    CHECK(spec.is_vector == is_norm);
    CHECK(spec.weight_decay == !is_norm);
    CHECK((spec.init == Init::ones) == is_norm);
    CHECK(spec.num_kv_heads == (spec.shard == ShardRule::kv_rows ? 2 : 0));
    CHECK(spec.layer == (spec.name.find("layers.1.") != std::string::npos ? 1 : -1));
  }
  CHECK(met == expected.size());
}

TEST_CASE("names are unique, and only what is outside the blocks has no layer") {
  std::set<std::string> seen;
  int outside = 0;
  for (const TensorSpec& spec : tensor_table(test::qwen3(kSmall))) {
    CHECK(seen.insert(spec.name).second);
    outside += spec.layer < 0 ? 1 : 0;
  }
  CHECK(outside == 3);
}
