#include <catch2/catch.hpp>

#include "base/error.hpp"
#include "huggingface/config_json.hpp"
#include "huggingface/special_tokens.hpp"
#include "support/scratch_folder.hpp"

using namespace espalier;
using namespace espalier::huggingface;
using Ids = std::vector<std::uint32_t>;

namespace {

config::ModelParameters read(const std::string& config, const std::string& generation = {}) {
  const testing::ScratchFolder folder;
  testing::write_file(folder / "config.json", config);
  if (!generation.empty()) testing::write_file(folder / "generation_config.json", generation);
  config::ModelParameters model;
  read_special_tokens(folder.path(), model);
  return model;
}

std::string eos_of(const std::string& file, const std::string& text) {
  const testing::ScratchFolder folder;
  testing::write_file(folder / file, text);
  return eos_token_of(folder.path());
}

}  // namespace

TEST_CASE("tokens of a config are a number, a list, null or absent; below zero is none") {
  const auto one = read(R"({"bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0})");
  CHECK(one.bos_token_id == 1);
  CHECK(one.eos_token_id == std::vector<std::int64_t>{2});
  CHECK(one.pad_token_id == 0);
  CHECK(read(R"({"eos_token_id": [5, 3, 5]})").eos_token_id == std::vector<std::int64_t>{5, 3, 5});
  for (const char* none : {"{}", R"({"bos_token_id": null, "eos_token_id": null})",
                           R"({"bos_token_id": -1, "eos_token_id": [-1], "pad_token_id": -1})"}) {
    const auto model = read(none);
    CHECK(model.bos_token_id == -1);
    CHECK(model.eos_token_id.empty());
    CHECK(model.pad_token_id == -1);
    CHECK(model.generation_config.empty());
  }
}

TEST_CASE("what is no id of a token is refused by file and key") {
  for (const char* text :
       {R"({"eos_token_id": "</s>"})", R"({"eos_token_id": [1, "2"]})", R"({"eos_token_id": 1.5})",
        R"({"eos_token_id": {}})", R"({"eos_token_id": 18446744073709551615})",
        R"({"eos_token_id": true})"})
    CHECK_THROWS_WITH(read(text),
                      Catch::Contains("config.json") && Catch::Contains("eos_token_id"));
  CHECK_THROWS_WITH(read("{}", R"({"eos_token_id": "x"})"),
                    Catch::Contains("generation_config.json"));
  CHECK_THROWS_WITH(read("{}", "{"), Catch::Contains("generation_config.json"));
  CHECK_THROWS_WITH(read("{}", R"({"x": ")" + std::string(70'000, 'x') + "\"}"),
                    Catch::Contains("generation_config.json"));
}

TEST_CASE("a text ends at every token that either file names, each counted once") {
  CHECK(ids_that_end_a_text(read(R"({"eos_token_id": 2})", R"({"eos_token_id": [3, 2]})")) ==
        Ids{2, 3});
  CHECK(ids_that_end_a_text(read("{}", R"({"eos_token_id": 7})")) == Ids{7});
  CHECK(ids_that_end_a_text(read(R"({"eos_token_id": [4, 5]})", "{}")) == Ids{4, 5});
  CHECK(ids_that_end_a_text({}).empty());
}

TEST_CASE("a generation config that samples says how") {
  config::GenerateParameters generate;
  const double temperature = generate.temperature;
  take_generation_settings("", generate);
  take_generation_settings(R"({"temperature": 0.6, "top_k": 5})", generate);  // it does not sample
  CHECK(generate.temperature == temperature);
  take_generation_settings(R"({"do_sample": true, "temperature": 0.6, "top_k": 20, "top_p": 0.9})",
                           generate);
  CHECK(generate.temperature == 0.6);
  CHECK(generate.top_k == 20);
  CHECK(generate.top_p == 0.9);
  // Out of range, or no number: as if it were not there.
  take_generation_settings(
      R"({"do_sample": true, "temperature": 1e9, "top_k": "many", "top_p": 0})", generate);
  CHECK(generate.temperature == 0.6);
  CHECK(generate.top_k == 20);
  CHECK(generate.top_p == 0.9);
}

TEST_CASE("the token that ends a text is named in two files and two forms") {
  CHECK(eos_of("tokenizer_config.json", R"({"eos_token": "<eos>"})") == "<eos>");
  CHECK(eos_of("tokenizer_config.json", R"({"eos_token": {"content": "</s>"}})") == "</s>");
  CHECK(eos_of("special_tokens_map.json", R"({"eos_token": "<eos>"})") == "<eos>");
  CHECK(eos_of("tokenizer_config.json", R"({"eos_token": null})").empty());
  CHECK(eos_of("other.json", "{}").empty());
}

TEST_CASE("what was read of tokens is written; without it, what the tokenizer says") {
  ExportedConfig exported{.model = {}, .dtype = "float32", .separator = 7, .begin = 6};
  exported.model.num_hidden_layers = 1;
  CHECK(write_config(exported).find("\"eos_token_id\": 7,") != std::string::npos);
  CHECK(write_config(exported).find("\"bos_token_id\": 6,") != std::string::npos);
  CHECK(write_generation_config(exported).find("\"pad_token_id\": 7") != std::string::npos);
  exported.model.eos_token_id = {3};
  exported.model.bos_token_id = 1;
  exported.model.pad_token_id = 0;
  CHECK(write_config(exported).find("\"eos_token_id\": 3,") != std::string::npos);
  exported.model.eos_token_id = {3, 2};
  const auto back = read(write_config(exported), write_generation_config(exported));
  CHECK(back.eos_token_id == exported.model.eos_token_id);
  CHECK(back.bos_token_id == 1);
  CHECK(back.pad_token_id == 0);
  CHECK(ids_that_end_a_text(back) == Ids{3, 2});
  exported.model.generation_config = "{\"kept\":  1}\r\n";
  CHECK(write_generation_config(exported) == exported.model.generation_config);
}
