#include <catch2/catch.hpp>
#include <map>
#include <set>

#include "model/activations.hpp"
#include "model/tensor_table.hpp"
#include "model/weights.hpp"
#include "support/architectures.hpp"

using namespace espalier;
using model::tensor_table;
using parallel::Init;
using parallel::ShardRule;
using parallel::Span;
using parallel::TensorSpec;

namespace {

// A*D = 96 is not H.
const testing::Sizes kSmall{
    .H = 64, .F = 80, .L = 2, .A = 4, .K = 2, .D = 24, .tied = false, .V = 300};

std::vector<std::string> names(const std::vector<TensorSpec>& table) {
  std::vector<std::string> result;
  for (const TensorSpec& spec : table) result.push_back(spec.name);
  return result;
}

}  // namespace

TEST_CASE("rows carry Hugging Face's names, in its order") {
  testing::Sizes one_layer = kSmall;
  one_layer.L = 1;
  CHECK(names(tensor_table(testing::qwen3(one_layer))) ==
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
  testing::Sizes sizes = kSmall;
  sizes.tied = true;
  const auto tied = names(tensor_table(testing::qwen3(sizes)));
  CHECK(std::find(tied.begin(), tied.end(), "lm_head.weight") == tied.end());
  CHECK(tied.size() == 1 + 2 * 11 + 1);

  model::Architecture a = testing::qwen3(kSmall);
  a.qk_norm = false;
  CHECK(tensor_table(a).size() == 1 + 2 * 9 + 2);
}

TEST_CASE("shape, shard rule, decay and gradient span of each weight") {
  const bool sequence_parallel = GENERATE(false, true);
  const Span norms = sequence_parallel ? Span::tokens : Span::tokens_shared;
  struct Row {
    std::int64_t rows, cols;
    ShardRule shard;
    Span span;
  };
  const std::map<std::string, Row> expected = {
      {"model.embed_tokens.weight", {300, 64, ShardRule::vocab_rows, Span::tokens_shared}},
      {"model.layers.1.input_layernorm.weight", {64, 1, ShardRule::none, norms}},
      {"model.layers.1.self_attn.q_proj.weight", {96, 64, ShardRule::rows, Span::tokens_shared}},
      {"model.layers.1.self_attn.k_proj.weight", {48, 64, ShardRule::kv_rows, Span::kv_tokens}},
      {"model.layers.1.self_attn.v_proj.weight", {48, 64, ShardRule::kv_rows, Span::kv_tokens}},
      {"model.layers.1.self_attn.o_proj.weight", {64, 96, ShardRule::columns, Span::tokens_shared}},
      {"model.layers.1.self_attn.q_norm.weight", {24, 1, ShardRule::none, Span::tokens}},
      {"model.layers.1.self_attn.k_norm.weight", {24, 1, ShardRule::none, Span::tokens}},
      {"model.layers.1.post_attention_layernorm.weight", {64, 1, ShardRule::none, norms}},
      {"model.layers.1.mlp.gate_proj.weight", {80, 64, ShardRule::rows, Span::tokens_shared}},
      {"model.layers.1.mlp.up_proj.weight", {80, 64, ShardRule::rows, Span::tokens_shared}},
      {"model.layers.1.mlp.down_proj.weight", {64, 80, ShardRule::columns, Span::tokens_shared}},
      {"model.norm.weight", {64, 1, ShardRule::none, norms}},
      {"lm_head.weight", {300, 64, ShardRule::vocab_rows, Span::tokens_shared}},
  };
  std::size_t met = 0;
  for (const TensorSpec& spec : tensor_table(testing::qwen3(kSmall), sequence_parallel)) {
    const auto row = expected.find(spec.name);
    if (row == expected.end()) continue;
    INFO(spec.name);
    ++met;
    CHECK(spec.rows == row->second.rows);
    CHECK(spec.cols == row->second.cols);
    CHECK((spec.shard == row->second.shard));
    CHECK((spec.gradient_span == row->second.span));
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
  for (const TensorSpec& spec : tensor_table(testing::qwen3(kSmall))) {
    CHECK(seen.insert(spec.name).second);
    outside += spec.layer < 0 ? 1 : 0;
  }
  CHECK(outside == 3);
}

TEST_CASE("GPT-2's rows, and where Hugging Face keeps them") {
  testing::Sizes sizes{.H = 48, .F = 192, .L = 2, .A = 4, .K = 4, .D = 12, .tied = true, .V = 131};
  const bool sequence_parallel = GENERATE(false, true);
  const auto table = tensor_table(testing::gpt2(sizes, 32), sequence_parallel);
  struct Row {
    std::string name;
    std::int64_t rows, cols;
    ShardRule shard;
    Span span;
    Init init;
    std::string place;
    std::int64_t offset, total;
  };
  const std::string h = "transformer.h.1.";
  const Span same = sequence_parallel ? Span::tokens : Span::tokens_shared;
  const std::vector<Row> block = {
      {"ln_1.weight", 48, 1, ShardRule::none, same, Init::ones, "", 0, 0},
      {"ln_1.bias", 48, 1, ShardRule::none, same, Init::zeros, "", 0, 0},
      {"attn.c_attn.q.weight", 48, 48, ShardRule::rows, Span::tokens_shared, Init::normal,
       "attn.c_attn.weight", 0, 144},
      {"attn.c_attn.k.weight", 48, 48, ShardRule::kv_rows, Span::kv_tokens, Init::normal,
       "attn.c_attn.weight", 48, 144},
      {"attn.c_attn.v.weight", 48, 48, ShardRule::kv_rows, Span::kv_tokens, Init::normal,
       "attn.c_attn.weight", 96, 144},
      {"attn.c_attn.q.bias", 48, 1, ShardRule::rows, Span::tokens_shared, Init::zeros,
       "attn.c_attn.bias", 0, 144},
      {"attn.c_attn.k.bias", 48, 1, ShardRule::kv_rows, Span::kv_tokens, Init::zeros,
       "attn.c_attn.bias", 48, 144},
      {"attn.c_attn.v.bias", 48, 1, ShardRule::kv_rows, Span::kv_tokens, Init::zeros,
       "attn.c_attn.bias", 96, 144},
      {"attn.c_proj.weight", 48, 48, ShardRule::columns, Span::tokens_shared, Init::normal,
       "attn.c_proj.weight", 0, 48},
      {"attn.c_proj.bias", 48, 1, ShardRule::none, same, Init::zeros, "", 0, 0},
      {"ln_2.weight", 48, 1, ShardRule::none, same, Init::ones, "", 0, 0},
      {"ln_2.bias", 48, 1, ShardRule::none, same, Init::zeros, "", 0, 0},
      {"mlp.c_fc.weight", 192, 48, ShardRule::rows, Span::tokens_shared, Init::normal,
       "mlp.c_fc.weight", 0, 192},
      {"mlp.c_fc.bias", 192, 1, ShardRule::rows, Span::tokens_shared, Init::zeros, "", 0, 0},
      {"mlp.c_proj.weight", 48, 192, ShardRule::columns, Span::tokens_shared, Init::normal,
       "mlp.c_proj.weight", 0, 48},
      {"mlp.c_proj.bias", 48, 1, ShardRule::none, same, Init::zeros, "", 0, 0},
  };
  REQUIRE(table.size() == 2 + 2 * block.size() + 2);
  CHECK(table[0].name == "transformer.wte.weight");
  CHECK((table[0].shard == ShardRule::vocab_rows));
  CHECK(table[1].name == "transformer.wpe.weight");
  CHECK(table[1].rows == 32);
  CHECK(table[1].weight_decay);
  CHECK((table[1].shard == ShardRule::none));
  CHECK((table[1].gradient_span == same));
  for (std::size_t i = 0; i < block.size(); ++i) {
    const TensorSpec& spec = table[2 + block.size() + i];
    const Row& row = block[i];
    INFO(row.name);
    CHECK(spec.name == h + row.name);
    CHECK(spec.rows == row.rows);
    CHECK(spec.cols == row.cols);
    CHECK((spec.shard == row.shard));
    CHECK((spec.gradient_span == row.span));
    CHECK((spec.init == row.init));
    CHECK(spec.layer == 1);
    CHECK(spec.place.name == (row.place.empty() ? "" : h + row.place));
    CHECK(spec.place.offset == row.offset);
    CHECK(spec.place.total_rows == row.total);
    const bool matrix = row.cols > 1;
    CHECK(spec.is_vector == !matrix);
    CHECK(spec.weight_decay == matrix);
    CHECK(spec.place.transposed == matrix);
    const bool ends_branch = matrix && row.name.find("c_proj") != std::string::npos;
    CHECK(spec.init_scale == (ends_branch ? 0.5 : 1.0));  // 1 / sqrt(2 L)
  }
  CHECK(table[table.size() - 2].name == "transformer.ln_f.weight");
  CHECK(table.back().name == "transformer.ln_f.bias");
  sizes.tied = false;
  CHECK(tensor_table(testing::gpt2(sizes)).back().name == "lm_head.weight");
}

TEST_CASE("a rank's views follow GPT-2's table, and q and k need no buffer of their own") {
  const testing::Sizes sizes{
      .H = 48, .F = 192, .L = 2, .A = 4, .K = 4, .D = 12, .tied = true, .V = 131};
  const model::Architecture a = testing::gpt2(sizes, 32);
  for (const int tensor : {1, 2, 4}) {
    const parallel::ProcessGrid grid({.tensor = tensor}, 0);
    device::Arena arena = device::Arena::planning("weights");
    const model::Weights weights(a, grid, DType::f32, arena, nullptr);
    const auto tensors = weights.local_tensors();  // asserts every shape against the table
    std::int64_t elements = 0;
    for (const parallel::LocalTensor& t : tensors) elements += t.weight.size();
    if (tensor == 1) CHECK(elements == a.num_parameters());
    CHECK(tensors[0].bucket == 2);
    CHECK(tensors[1].bucket == 2);
    CHECK(tensors.back().bucket == 3);

    device::Arena plan = device::Arena::planning("activations");
    const model::Activations activations(weights.sizes(),
                                         {.micro_batch_size = 2,
                                          .sequence_length = 8,
                                          .loss_chunk_tokens = 16,
                                          .tensor_size = tensor,
                                          .splits_tokens = false,
                                          .training = true},
                                         DType::f32, plan);
    for (const auto& allocation : plan.allocations()) {
      CHECK_FALSE(allocation.label.ends_with(" qk"));
      CHECK(allocation.label.find("rope") == std::string::npos);
    }
    const model::BlockActivations& block = activations.chunks[0].slots[0].blocks[1];
    CHECK(block.qk.stride == block.qkv.stride);
  }
}

TEST_CASE("a block with experts has a router and two rows of experts in place of its MLP") {
  const testing::Sizes sizes{
      .H = 48, .F = 64, .L = 3, .A = 4, .K = 2, .D = 12, .tied = true, .V = 131};
  model::Architecture a = testing::qwen3_moe(sizes, 8, 2, 20);
  a.mlp_only_layers = {1};
  const auto table = tensor_table(a, /*sequence_parallel=*/true);
  const auto find = [&](const std::string& name) {
    return std::find_if(table.begin(), table.end(),
                        [&](const parallel::TensorSpec& spec) { return spec.name == name; });
  };
  for (const int layer : {0, 1, 2}) {
    const std::string mlp = "model.layers." + std::to_string(layer) + ".mlp.";
    const bool sparse = layer != 1;
    CHECK((find(mlp + "gate_proj.weight") == table.end()) == sparse);
    CHECK((find(mlp + "gate.weight") != table.end()) == sparse);
    if (!sparse) continue;
    const parallel::TensorSpec router = *find(mlp + "gate.weight");
    CHECK(router.rows == 8);
    CHECK(router.cols == 48);
    CHECK((router.shard == ShardRule::none));
    CHECK((router.gradient_span == Span::tokens));
    CHECK(router.weight_decay);
    const parallel::TensorSpec up = *find(mlp + "experts.gate_up_proj");
    CHECK(up.rows == 8 * 2 * 20);
    CHECK(up.cols == 48);
    CHECK(up.place.expert_parts == std::vector<std::string>{mlp + "experts.{}.gate_proj.weight",
                                                            mlp + "experts.{}.up_proj.weight"});
    const parallel::TensorSpec down = *find(mlp + "experts.down_proj");
    CHECK(down.rows == 8 * 48);
    CHECK(down.cols == 20);
    for (const parallel::TensorSpec& spec : {up, down}) {
      CHECK((spec.shard == ShardRule::experts));
      CHECK((spec.gradient_span == Span::expert_data));
      CHECK(spec.num_experts == 8);
      CHECK(spec.layer == layer);
      CHECK(spec.weight_decay);
    }
  }
}
