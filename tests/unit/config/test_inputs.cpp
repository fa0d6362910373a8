// The inputs that come with the program are read, and say the sizes that they are named after.
#include <catch2/catch.hpp>
#include <filesystem>
#include <fstream>
#include <sstream>

#include "base/text.hpp"
#include "io/toml_reader.hpp"
#include "model/architecture.hpp"
#include "support/expect_error.hpp"

using namespace espalier;
using config::Parameters;

namespace {

std::filesystem::path inputs() {
  return std::filesystem::path(ESPALIER_SOURCE_DIR) / "inputs";
}

Parameters read_file(const std::filesystem::path& path,
                     const std::vector<std::string>& overrides = {}) {
  std::ostringstream text;
  text << std::ifstream(path).rdbuf();
  REQUIRE_FALSE(text.str().empty());
  Parameters parameters;
  io::read_parameters(text.str(), path.string(), overrides, parameters);
  return parameters;
}

model::Architecture architecture(const std::string& model_file) {
  Parameters p = read_file(inputs() / "models" / model_file,
                           {"training.steps=1", "data.train=x", "training.sequence_length=32"});
  config::resolve(p, 8);
  return model::Architecture::from(p.model);
}

std::int64_t num_parameters(const std::string& model_file) {
  return architecture(model_file).num_parameters();
}

std::int64_t active_parameters(const std::string& model_file) {
  return architecture(model_file).num_active_parameters();
}

}  // namespace

TEST_CASE("model files have the published numbers of parameters") {
  CHECK(num_parameters("qwen3-debug.toml") == 31'987'968);
  CHECK(num_parameters("qwen3-0.6b.toml") == 596'049'920);
  CHECK(num_parameters("qwen3-1.7b.toml") == 1'720'574'976);
  CHECK(num_parameters("qwen3-4b.toml") == 4'022'468'096);
  CHECK(num_parameters("qwen3-8b.toml") == 8'190'735'360);
  CHECK(num_parameters("qwen3-14b.toml") == 14'768'307'200);
  CHECK(num_parameters("qwen3-32b.toml") == 32'762'123'264);
  CHECK(num_parameters("qwen3-42m.toml") == 41'952'768);
  CHECK(num_parameters("qwen3-1.5b-guide.toml") == 2'031'739'904);
  CHECK(num_parameters("qwen3-moe-debug.toml") == 32'020'736);
  CHECK(num_parameters("qwen3-30b-a3b.toml") == 30'532'122'624);
  CHECK(num_parameters("qwen3-235b-a22b.toml") == 235'093'634'560);
  CHECK(num_parameters("llama3-1b.toml") == 1'235'814'400);
  CHECK(num_parameters("llama3-3b.toml") == 3'212'749'824);
  CHECK(num_parameters("llama3-8b.toml") == 8'030'261'248);
  CHECK(num_parameters("llama3-70b.toml") == 70'553'706'496);
  CHECK(num_parameters("llama3-1.5b-optimal.toml") == 1'544'628'224);
  CHECK(num_parameters("llama3-2.2b-chinchilla.toml") == 2'224'154'624);
  CHECK(num_parameters("llama2-1.4b.toml") == 1'294'159'104);
  CHECK(num_parameters("gpt2-1.3b.toml") == 1'267'780'608);
}

TEST_CASE("the number of parameters stands in the first line of each model file") {
  for (const auto& entry : std::filesystem::directory_iterator(inputs() / "models")) {
    INFO(entry.path().string());
    std::ifstream file(entry.path());
    std::string first;
    std::getline(file, first);
    const std::int64_t count = num_parameters(entry.path().filename().string());
    CHECK_THAT(first, Catch::Contains(", " + with_commas(count) + " parameters."));
  }
}

TEST_CASE("model files have their family's constants, and a line of explanation each") {
  for (const auto& entry : std::filesystem::directory_iterator(inputs() / "models")) {
    INFO(entry.path().string());
    const std::string name = entry.path().filename().string();
    const std::string family = name.substr(0, name.find('-'));
    const config::ModelParameters m = read_file(entry.path()).model;
    CHECK(m.initializer_range == 0.02);
    CHECK(m.model_type == (family == "llama2" || family == "llama3" ? "llama"
                           : m.num_experts > 0                      ? "qwen3_moe"
                                                                    : family));
    CHECK(m.rms_norm_eps == (family == "qwen3" ? 1.0e-6 : 1.0e-5));
    if (family == "qwen3") {
      CHECK(m.rope_theta == 1.0e6);
      CHECK(m.max_position_embeddings == 40960);
    } else if (family == "llama3") {
      CHECK(m.rope_theta == 5.0e5);
      CHECK(m.max_position_embeddings == (m.rope_type == "llama3" ? 131072 : 8192));
    } else if (family == "llama2") {
      CHECK(m.rope_theta == 1.0e4);
    }
    std::ifstream file(entry.path());
    if (m.num_experts > 0) {
      CHECK(m.norm_topk_prob);
      std::ostringstream text;
      text << std::ifstream(entry.path()).rdbuf();
      CHECK_THAT(text.str(), Catch::Contains("meets " + with_commas(active_parameters(name))));
    }
    for (std::string line; std::getline(file, line);)
      if (line.find(" = ") != std::string::npos) CHECK(line.find("  # ") != std::string::npos);
  }
}

TEST_CASE("plans are documents: purpose, reference, what is expected and the command") {
  for (const auto& entry : std::filesystem::directory_iterator(inputs() / "plans")) {
    if (entry.path().extension() != ".toml") continue;
    INFO(entry.path().string());
    Parameters p = read_file(entry.path());
    config::resolve(p, 1, config::Use::document);
    std::ostringstream text;
    text << std::ifstream(entry.path()).rdbuf();
    for (const char* words : {"# Purpose: ", "# Reference: ", "# Expected: "})
      CHECK_THAT(text.str(), Catch::Contains(words));
    const std::string name = "inputs/plans/" + entry.path().filename().string();
    CHECK_THAT(text.str(), Catch::Contains("espalier plan ") && Catch::Contains(name));
  }
}

TEST_CASE("the tiny test input resolves on every grid it is made for") {
  for (const int tensor : {1, 2, 4})
    for (const int data : {1, 2, 4, 8}) {
      INFO("tensor " << tensor << " data " << data);
      Parameters p = read_file(inputs() / "tests/tiny.toml",
                               {"data.train=x", "parallel.tensor=" + std::to_string(tensor)});
      config::resolve(p, tensor * data);
      CHECK(p.parallel.data == data);
      CHECK(p.model.num_attention_heads * p.model.head_dim != p.model.hidden_size);
      CHECK(model::Architecture::from(p.model).num_parameters() == 90'592);
    }
}

TEST_CASE("the host benchmark needs no data") {
  Parameters p = read_file(inputs() / "bench/host-42m.toml");
  config::resolve(p, 1, config::Use::bench);
  CHECK(p.training.steps == 10);
  CHECK(p.training.sequence_length == 512);
  CHECK(p.training.micro_batch_size == 4);
}
