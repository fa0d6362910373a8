#include <catch2/catch.hpp>

#include "base/error.hpp"
#include "support/architectures.hpp"

using namespace espalier;
using espalier::model::Architecture;
using test::qwen3;

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

TEST_CASE("parameters outside embedding and LM head") {
  const Architecture tied = qwen3({1024, 3072, 28, 16, 8, 128, true});
  Architecture untied = tied;
  untied.tied = false;
  CHECK(tied.num_parameters_without_embedding() == 596'049'920 - 151936 * 1024);
  CHECK(untied.num_parameters_without_embedding() == tied.num_parameters_without_embedding());
  CHECK(untied.num_parameters() == tied.num_parameters() + 151936 * 1024);
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

TEST_CASE("the description has every size") {
  const std::string text = qwen3({1024, 3072, 28, 16, 8, 128, true}).describe();
  for (const char* words : {"28", "1,024", "3,072", "16", "A x D = 2,048", "8", "128", "151,936",
                            "tied", "596,049,920", "440,467,456", "QK-norm"}) {
    INFO(text);
    INFO(words);
    CHECK(text.find(words) != std::string::npos);
  }
  CHECK(text.back() != '\n');
}
