#include <catch2/catch.hpp>

#include "base/error.hpp"
#include "support/architectures.hpp"

using namespace espalier;
using espalier::model::Architecture;
using testing::qwen3;

TEST_CASE("parameter counts of the dense Qwen3 models, to the digit") {
  CHECK(qwen3({256, 3072, 8, 16, 8, 128, true, 2048}).num_parameters() == 31'987'968);
  CHECK(qwen3({1024, 3072, 28, 16, 8, 128, true}).num_parameters() == 596'049'920);
  CHECK(qwen3({2048, 6144, 28, 16, 8, 128, true}).num_parameters() == 1'720'574'976);
  CHECK(qwen3({2560, 9728, 36, 32, 8, 128, true}).num_parameters() == 4'022'468'096);
  CHECK(qwen3({4096, 12288, 36, 32, 8, 128, false}).num_parameters() == 8'190'735'360);
  CHECK(qwen3({5120, 17408, 40, 40, 8, 128, false}).num_parameters() == 14'768'307'200);
  CHECK(qwen3({5120, 25600, 64, 64, 8, 128, false}).num_parameters() == 32'762'123'264);
  CHECK(qwen3({2048, 6144, 28, 16, 8, 128, false}).num_parameters() == 2'031'739'904);
  CHECK(qwen3({2304, 6912, 28, 16, 8, 144, false}).num_parameters() == 2'483'888'256);
}

TEST_CASE("parameter counts of GPT-2 and Llama 3, to the digit") {
  CHECK(testing::gpt2({768, 3072, 12, 12, 12, 64, true, 50257}).num_parameters() == 124'439'808);
  CHECK(testing::gpt2({1600, 6400, 48, 25, 25, 64, true, 50257}).num_parameters() == 1'557'611'200);
  CHECK(testing::llama3_8b().num_parameters() == 8'030'261'248);
}

TEST_CASE("parameter counts of the Qwen3 models with experts, all and active, to the digit") {
  const Architecture a3b = testing::qwen3_moe({2048, 6144, 48, 32, 4, 128, false}, 128, 8, 768);
  CHECK(a3b.num_parameters() == 30'532'122'624);
  CHECK(a3b.num_active_parameters() == 3'353'032'704);
  CHECK(a3b.num_active_parameters_without_embedding() == 2'730'702'848);
  const Architecture a22b = testing::qwen3_moe({4096, 12288, 94, 64, 4, 128, false}, 128, 8, 1536);
  CHECK(a22b.num_parameters() == 235'093'634'560);
  CHECK(a22b.num_active_parameters() == 22'190'763'520);
  CHECK(a22b.num_active_parameters_without_embedding() == 20'946'103'808);
  // Of a dense model all are.
  const Architecture dense = qwen3({1024, 3072, 28, 16, 8, 128, true});
  CHECK(dense.num_active_parameters() == dense.num_parameters());
  CHECK(dense.num_active_parameters_without_embedding() ==
        dense.num_parameters_without_embedding());
}

TEST_CASE("parameters outside embedding and LM head") {
  const Architecture tied = qwen3({1024, 3072, 28, 16, 8, 128, true});
  Architecture untied = tied;
  untied.tied = false;
  CHECK(tied.num_parameters_without_embedding() == 596'049'920 - 151936 * 1024);
  CHECK(untied.num_parameters_without_embedding() == tied.num_parameters_without_embedding());
  CHECK(untied.num_parameters() == tied.num_parameters() + 151936 * 1024);
  // The positions are an embedding too.
  const Architecture gpt2 = testing::gpt2({768, 3072, 12, 12, 12, 64, true, 50257});
  CHECK(gpt2.num_parameters_without_embedding() == 124'439'808 - (50257 + 1024) * 768);
}

TEST_CASE("the family decides the parts, rope_type the scaling") {
  config::ModelParameters p;
  p.hidden_size = p.vocab_size = p.intermediate_size = 64;
  p.num_hidden_layers = p.num_attention_heads = p.num_key_value_heads = 1;
  p.head_dim = 64;
  p.model_type = "gpt2";
  Architecture a = Architecture::from(p);
  CHECK((a.normalization == model::Normalization::layer_norm));
  CHECK((a.position_embedding == model::PositionEmbedding::learned));
  CHECK((a.mlp == model::Mlp::gelu));
  CHECK(a.biases);
  CHECK_FALSE(a.qk_norm);
  p.model_type = "llama";
  p.rope_type = "llama3";
  p.rope_factor = 32.0;
  a = Architecture::from(p);
  CHECK((a.normalization == model::Normalization::rms_norm));
  CHECK_FALSE(a.qk_norm);
  CHECK_FALSE(a.biases);
  CHECK((a.rope_frequencies().scaling.type == kernels::RopeType::llama3));
  CHECK(a.rope_frequencies().scaling.factor == 32.0);
  CHECK(a.rope_frequencies().scaling.original_positions == 8192);
  p.rope_type = "default";
  CHECK((Architecture::from(p).rope_frequencies().scaling.type == kernels::RopeType::standard));
  p.model_type = "mamba";
  CHECK_THROWS_WITH(Architecture::from(p),
                    Catch::Contains("mamba") && Catch::Contains("qwen3, qwen3_moe, llama, gpt2"));
}

TEST_CASE("each type of RoPE scaling takes its own keys") {
  config::ModelParameters p;
  p.hidden_size = p.vocab_size = p.intermediate_size = 64;
  p.num_hidden_layers = p.num_attention_heads = p.num_key_value_heads = 1;
  p.head_dim = 64;
  p.max_position_embeddings = 4096;
  p.rope_factor = 4.0;
  const auto scaling = [&](const std::string& type) {
    p.rope_type = type;
    return Architecture::from(p).rope_scaling;
  };
  CHECK(scaling("linear").factor == 4.0);
  CHECK(scaling("dynamic").original_positions == 4096);  // there is no other original length
  p.rope_original_max_position_embeddings = 1024;
  CHECK(scaling("yarn").original_positions == 1024);
  CHECK(scaling("yarn").beta_fast == 32.0);
  CHECK(scaling("yarn").truncate);
  // Attention factors of transformers 5.24 for factors of 4 and 40.
  CHECK(scaling("yarn").attention_factor == Approx(1.138629436111989).epsilon(1e-15));
  p.rope_factor = 40.0;
  p.rope_mscale = 1.0;
  CHECK(scaling("yarn").attention_factor == Approx(1.3688879454113937).epsilon(1e-15));
  p.rope_mscale_all_dim = 0.5;  // both together
  CHECK(scaling("yarn").attention_factor == Approx(1.1557219901962608).epsilon(1e-15));
  p.rope_attention_factor = 0.83;  // wins
  CHECK(scaling("yarn").attention_factor == 0.83);
  p.rope_factor = 1.0;
  p.rope_attention_factor = p.rope_mscale = 0.0;
  CHECK(scaling("yarn").attention_factor == 1.0);
}

TEST_CASE("an architecture is what the resolved parameters say") {
  config::ModelParameters p;
  p.vocab_size = 300;
  p.hidden_size = 64;
  p.intermediate_size = 96;
  p.num_hidden_layers = 3;
  p.num_attention_heads = 4;
  p.num_key_value_heads = 2;
  p.head_dim = 24;
  p.tie_word_embeddings = true;
  const Architecture a = Architecture::from(p);
  CHECK(a.vocab_size == 300);
  CHECK(a.hidden_size == 64);
  CHECK(a.intermediate == 96);
  CHECK(a.num_layers == 3);
  CHECK(a.num_heads == 4);
  CHECK(a.num_kv_heads == 2);
  CHECK(a.head_dim == 24);
  CHECK(a.tied);
  CHECK(a.qk_norm);
  CHECK(a.norm_eps == 1.0e-6F);
  CHECK_THROWS_WITH(Architecture::from({}), Catch::Contains("model.file"));
}

namespace {

void expect_words(const std::string& text, std::initializer_list<const char*> words) {
  for (const char* word : words) {
    INFO(text);
    INFO(word);
    CHECK(text.find(word) != std::string::npos);
  }
}

}  // namespace

TEST_CASE("the description has every size and part") {
  const std::string text = qwen3({1024, 3072, 28, 16, 8, 128, true}).describe();
  expect_words(text, {"28", "1,024", "3,072", "16", "A x D = 2,048", "8", "128", "151,936", "tied",
                      "596,049,920", "440,467,456", "with QK-norm", "SwiGLU", "RMSNorm", "1e-06",
                      "rope theta", "no biases"});
  CHECK(text.back() != '\n');

  const std::string gpt2 = testing::gpt2({768, 3072, 12, 12, 12, 64, true, 50257}).describe();
  expect_words(gpt2, {"GELU", "LayerNorm with bias", "learned positions", "1,024", "1e-05",
                      "biases on linear layers", "no QK-norm", "124,439,808"});
  CHECK(gpt2.find("rope") == std::string::npos);

  Architecture moe = testing::qwen3_moe({2048, 6144, 48, 32, 4, 128, false}, 128, 8, 768);
  const std::string sparse = moe.describe();
  expect_words(sparse, {"experts", "128", "in 48 layers; a token takes 8", "divided by their sum",
                        "768", "30,532,122,624", "active parameters", "3,353,032,704"});
  CHECK(sparse.find("6,144") == std::string::npos);  // no block has that size
  moe.decoder_sparse_step = 2;
  moe.mlp_only_layers = {1, 2};
  expect_words(moe.describe(), {"6,144", "of 25 dense layers", "in 23 layers"});
  CHECK(text.find("experts") == std::string::npos);

  Architecture llama = testing::llama3_8b();
  llama.rope_scaling = {.type = kernels::RopeType::llama3, .factor = 8.0};
  expect_words(llama.describe(), {"rope factor", "8.0", "Llama 3.1, from 8,192 positions"});
  llama.rope_scaling.type = kernels::RopeType::yarn;
  llama.rope_scaling.attention_factor = 1.2079441541679836;
  expect_words(llama.describe(), {"rope factor", "YaRN, from 8,192 positions", "beta 32.0, 1.0",
                                  "attention factor 1.20794"});
  llama.rope_scaling.type = kernels::RopeType::dynamic;
  expect_words(llama.describe(), {"dynamic NTK, from 8,192 positions"});
}
