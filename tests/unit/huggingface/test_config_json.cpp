#include <catch2/catch.hpp>

#include "base/error.hpp"
#include "huggingface/config_json.hpp"

using namespace espalier;
using namespace espalier::huggingface;

namespace {

const std::string kLlama = R"({"model_type": "llama", "vocab_size": 128, "hidden_size": 64,
  "intermediate_size": 96, "num_hidden_layers": 2, "num_attention_heads": 4)";

config::ModelParameters read(const std::string& text) {
  return read_config("config.json", text);
}

std::string refusal(const std::string& text) {
  try {
    read(text);
  } catch (const Error& error) {
    CHECK(error.status() == ExitStatus::bad_data);
    return error.what();
  }
  return "accepted";
}

}  // namespace

TEST_CASE("keys that a config leaves out have transformers' defaults") {
  const auto llama = read(R"({"model_type": "llama"})");
  CHECK(llama.vocab_size == 32000);
  CHECK(llama.num_key_value_heads == 32);
  CHECK(llama.head_dim == 128);
  CHECK(llama.rope_theta == 10000.0);
  CHECK(llama.rms_norm_eps == 1e-6);
  CHECK_FALSE(llama.tie_word_embeddings);
  const auto qwen3 = read(R"({"model_type": "qwen3", "num_attention_heads": 64})");
  CHECK(qwen3.head_dim == 128);
  CHECK(qwen3.num_key_value_heads == 32);
  const auto gpt2 = read(R"({"model_type": "gpt2"})");
  CHECK(gpt2.vocab_size == 50257);
  CHECK(gpt2.hidden_size == 768);
  CHECK(gpt2.intermediate_size == 3072);
  CHECK(gpt2.head_dim == 64);
  CHECK(gpt2.num_key_value_heads == 12);
  CHECK(gpt2.max_position_embeddings == 1024);
  CHECK(gpt2.rms_norm_eps == 1e-5);
  CHECK(gpt2.tie_word_embeddings);
}

TEST_CASE("null is as good as absent, but for what is then derived") {
  const auto m = read(kLlama + R"(, "head_dim": null, "num_key_value_heads": null,
    "rope_scaling": null, "rope_parameters": null, "quantization_config": null,
    "sliding_window": null, "pretraining_tp": null, "architectures": null})");
  CHECK(m.head_dim == 16);
  CHECK(m.num_key_value_heads == 4);
  const auto qwen3 = read(R"({"model_type": "qwen3", "hidden_size": 64, "num_attention_heads": 4,
    "head_dim": null, "num_key_value_heads": null})");
  CHECK(qwen3.head_dim == 16);
  CHECK(qwen3.num_key_value_heads == 4);
}

TEST_CASE("rope_theta is read at the top level and in rope_parameters") {
  CHECK(read(kLlama + R"(, "rope_theta": 5e5})").rope_theta == 5e5);
  CHECK(read(kLlama + R"(, "rope_parameters": {"rope_theta": 5e5}})").rope_theta == 5e5);
  CHECK(read(kLlama + R"(, "rope_theta": 5e5,
    "rope_parameters": {"rope_theta": 500000, "rope_type": "default"}})")
            .rope_theta == 5e5);
  const std::string message =
      refusal(kLlama + R"(, "rope_theta": 5e5, "rope_parameters": {"rope_theta": 1e4}})");
  CHECK(message.find("rope_theta") != std::string::npos);
}

TEST_CASE("Llama 3.1's scaling is read from both places and under both names") {
  const std::string keys = R"("factor": 32.0, "low_freq_factor": 1.5, "high_freq_factor": 5.0)";
  for (const std::string place : {"rope_scaling", "rope_parameters"})
    for (const std::string type : {"rope_type", "type"}) {
      const auto m = read(kLlama + R"(, "rope_theta": 5e5, "max_position_embeddings": 4096, ")" +
                          place + R"(": {")" + type + R"(": "llama3", )" + keys + "}}");
      CHECK(m.rope_type == "llama3");
      CHECK(m.rope_theta == 5e5);
      CHECK(m.rope_factor == 32.0);
      CHECK(m.rope_low_freq_factor == 1.5);
      CHECK(m.rope_high_freq_factor == 5.0);
      CHECK(m.rope_original_max_position_embeddings == 4096);  // as transformers 5 fills it
    }
}

TEST_CASE("everything that would change the numbers is named in one message") {
  const std::string message = refusal(kLlama + R"(, "attention_bias": true, "hidden_act": "gelu",
    "rope_scaling": {"rope_type": "dynamic", "factor": 2.0}, "pretraining_tp": 2,
    "vocab_size_typo": 1})");
  for (const char* word :
       {"attention_bias = true", "hidden_act = \"gelu\"", "\"dynamic\"", "pretraining_tp = 2"})
    CHECK(message.find(word) != std::string::npos);
  CHECK(message.find("typo") == std::string::npos);  // what transformers does not know it ignores
  const std::string gpt2 = refusal(R"({"model_type": "gpt2", "add_cross_attention": true,
    "scale_attn_by_inverse_layer_idx": true, "scale_attn_weights": false,
    "activation_function": "gelu"})");
  for (const char* word : {"add_cross_attention", "scale_attn_by_inverse_layer_idx",
                           "scale_attn_weights", "activation_function"})
    CHECK(gpt2.find(word) != std::string::npos);
}

TEST_CASE("what is written is read back the same") {
  for (const std::string family : {"qwen3", "llama", "gpt2"}) {
    config::ModelParameters m;
    m.model_type = family;
    m.vocab_size = 1000;
    m.hidden_size = 48;
    m.intermediate_size = 100;
    m.num_hidden_layers = 3;
    m.num_attention_heads = 4;
    m.num_key_value_heads = family == "gpt2" ? 4 : 2;
    m.head_dim = family == "gpt2" ? 12 : 20;
    m.rms_norm_eps = 3e-6;
    m.initializer_range = 0.013;
    m.max_position_embeddings = 77;
    m.tie_word_embeddings = family == "llama";
    if (family != "gpt2") m.rope_theta = 12345.678901234567;
    if (family == "llama") {
      m.rope_type = "llama3";
      m.rope_factor = 32.0;
    }
    const auto back = read(write_config({.model = m, .dtype = "bfloat16", .separator = 7}));
    std::vector<std::string> there, here;
    config::ModelParameters::describe(m, [&](const config::Field& field, const auto& value) {
      there.push_back(std::string(field.name) + config::toml_value(value));
    });
    config::ModelParameters::describe(back, [&](const config::Field& field, const auto& value) {
      here.push_back(std::string(field.name) + config::toml_value(value));
    });
    CHECK(there == here);
    CHECK(differences(m, back).empty());
  }
}

TEST_CASE("models differ where the weights would mean something else, and only there") {
  const auto a = read(kLlama + "}");
  auto b = a;
  b.max_position_embeddings = 99;
  b.initializer_range = 0.5;
  b.initial_weights = "x";
  b.rope_factor = 2.0;  // no meaning without llama3
  CHECK(differences(a, b).empty());
  b.rope_type = "llama3";
  b.rms_norm_eps = 1e-5;
  b.hidden_size = 128;
  const std::string text = differences(a, b);
  for (const char* word : {"rope_type", "rope_factor", "rms_norm_eps", "hidden_size: 64 there"})
    CHECK(text.find(word) != std::string::npos);
  CHECK(text.find("max_position") == std::string::npos);
}

TEST_CASE("a config nested too deep is refused, not a crash") {
  // What is printed in a refusal, and what is freed, would take a stack frame a level.
  const std::string deep =
      R"({"model_type": )" + std::string(300'000, '[') + std::string(300'000, ']') + "}";
  CHECK(refusal(deep).find("100 levels") != std::string::npos);
}
