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

TEST_CASE("experts are read as transformers 4 and 5 write them") {
  const auto absent = read(R"({"model_type": "qwen3_moe"})");
  CHECK(absent.num_experts == 128);
  CHECK(absent.num_experts_per_tok == 8);
  CHECK(absent.moe_intermediate_size == 768);
  CHECK_FALSE(absent.norm_topk_prob);
  CHECK(absent.num_hidden_layers == 24);
  CHECK(absent.num_key_value_heads == 4);
  CHECK(absent.head_dim == 64);  // H/A: the class has no default
  CHECK(absent.decoder_sparse_step == 1);
  CHECK(absent.router_aux_loss_coef == 1.0e-3);

  const std::string moe = R"({"model_type": "qwen3_moe", "hidden_size": 64,
    "num_attention_heads": 4, "num_hidden_layers": 4, "num_experts_per_tok": 2)";
  CHECK(read(moe + R"(, "num_local_experts": 16})").num_experts == 16);
  CHECK(read(moe + R"(, "num_experts": 16})").num_experts == 16);
  CHECK(read(moe + R"(, "num_experts": 16, "num_local_experts": 16})").num_experts == 16);
  const std::string two = refusal(moe + R"(, "num_experts": 16, "num_local_experts": 8})");
  CHECK(two.find("num_experts = 16, but num_local_experts = 8") != std::string::npos);
  const auto mixed = read(moe + R"(, "mlp_only_layers": [0, 9], "decoder_sparse_step": 2,
    "norm_topk_prob": true, "router_aux_loss_coef": 0.02, "output_router_logits": true})");
  CHECK(mixed.mlp_only_layers == std::vector<std::int64_t>{0});  // there is no block 9
  CHECK(mixed.decoder_sparse_step == 2);
  CHECK(mixed.norm_topk_prob);
  CHECK(mixed.router_aux_loss_coef == 0.02);
  CHECK(read(moe + R"(, "mlp_only_layers": null})").mlp_only_layers.empty());

  const auto says = [&](const std::string& keys, const char* words) {
    INFO(keys);
    CHECK(refusal(moe + keys + "}").find(words) != std::string::npos);
  };
  says(R"(, "num_experts": 0)", "num_experts = 0");
  says(R"(, "num_experts": 1)", "num_experts_per_tok = 2");
  says(R"(, "num_experts": "many")", "\"many\"");
  says(R"(, "moe_intermediate_size": 0)", "moe_intermediate_size");
  says(R"(, "mlp_only_layers": 3)", "mlp_only_layers = 3");
  says(R"(, "mlp_only_layers": ["x"])", "mlp_only_layers");
  says(R"(, "mlp_only_layers": [-1])", "mlp_only_layers");
  says(R"(, "decoder_sparse_step": 0)", "decoder_sparse_step");
  says(R"(, "mlp_only_layers": [0, 1, 2, 3])", "no block with experts");
  says(R"(, "mlp_only_layers": [0], "intermediate_size": 0)", "intermediate_size = 0");
  // A dense family does not take them.
  CHECK(refusal(kLlama + R"(, "num_experts": 4})").find("num_experts = 4") != std::string::npos);
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

TEST_CASE("linear, dynamic and YaRN's scaling are read as transformers reads them") {
  const auto with = [](const std::string& rope, const std::string& more = "") {
    return read(kLlama + R"(, "max_position_embeddings": 4096, "rope_scaling": )" + rope + more +
                "}");
  };
  CHECK(with(R"({"type": "linear", "factor": 4.0})").rope_type == "linear");
  CHECK(with(R"({"rope_type": "linear", "factor": 4})").rope_factor == 4.0);
  CHECK(with(R"({"rope_type": "dynamic", "factor": 2.5})").rope_type == "dynamic");
  const auto yarn = with(R"({"rope_type": "yarn", "factor": 4.0,
    "original_max_position_embeddings": 1024, "beta_fast": 16, "beta_slow": 2,
    "attention_factor": 0.9, "mscale": 1.1, "mscale_all_dim": 0.7, "truncate": false})");
  CHECK(yarn.rope_type == "yarn");
  CHECK(yarn.rope_factor == 4.0);
  CHECK(yarn.rope_original_max_position_embeddings == 1024);
  CHECK(yarn.rope_beta_fast == 16.0);
  CHECK(yarn.rope_beta_slow == 2.0);
  CHECK(yarn.rope_attention_factor == 0.9);
  CHECK(yarn.rope_mscale == 1.1);
  CHECK(yarn.rope_mscale_all_dim == 0.7);
  CHECK_FALSE(yarn.rope_truncate);
  // What is not given: the length is max_position_embeddings, zero and null are as good as absent,
  // but for truncate, and for the factor, which is then the ratio of the lengths.
  const auto plain = with(R"({"rope_type": "yarn", "factor": 4.0, "beta_fast": null,
    "beta_slow": 0, "attention_factor": null, "truncate": null})");
  CHECK(plain.rope_original_max_position_embeddings == 4096);
  CHECK(plain.rope_beta_fast == 32.0);
  CHECK(plain.rope_beta_slow == 1.0);
  CHECK(plain.rope_attention_factor == 0.0);
  CHECK_FALSE(plain.rope_truncate);
  CHECK(with(R"({"rope_type": "yarn", "factor": null, "original_max_position_embeddings": 512})")
            .rope_factor == 8.0);
  CHECK(with(R"({"rope_type": "yarn", "factor": 4, "original_max_position_embeddings": 512})",
             R"(, "original_max_position_embeddings": 2048)")
            .rope_original_max_position_embeddings == 2048);
  // A type takes only what its formula asks for.
  const auto linear = with(R"({"rope_type": "linear", "factor": 4.0, "beta_fast": 5,
    "original_max_position_embeddings": 77, "low_freq_factor": 9})");
  CHECK(linear.rope_beta_fast == 32.0);
  CHECK(linear.rope_original_max_position_embeddings == 8192);

  const auto refused = [](const std::string& rope) {
    return refusal(kLlama + R"(, "rope_scaling": )" + rope + "}");
  };
  for (const std::string type : {"linear", "dynamic", "yarn"}) {
    const std::string message = refused(R"({"rope_type": ")" + type + R"("})");
    CHECK(message.find(type) != std::string::npos);
    CHECK(message.find("without factor") != std::string::npos);
  }
  CHECK(refused(R"({"rope_type": "linear", "factor": null})").find("factor") != std::string::npos);
  CHECK(refused(R"({"rope_type": "linear", "factor": 0.5})").find("0.5") != std::string::npos);
  CHECK(refused(R"({"rope_type": "longrope", "factor": 2.0})").find("longrope") !=
        std::string::npos);
  CHECK(refused(R"({"rope_type": 3, "factor": 2.0})").find("rope_type = 3") != std::string::npos);
  CHECK(refused(R"({"rope_type": "yarn", "factor": 2.0, "attention_factor": 0})")
            .find("attention_factor") != std::string::npos);
}

TEST_CASE("swish is silu by another name") {
  CHECK_NOTHROW(read(kLlama + R"(, "hidden_act": "swish"})"));
  CHECK_NOTHROW(read(kLlama + R"(, "hidden_act": null})"));
  CHECK(refusal(kLlama + R"(, "hidden_act": "Swish"})").find("Swish") != std::string::npos);
}

TEST_CASE("everything that would change the numbers is named in one message") {
  const std::string message = refusal(kLlama + R"(, "attention_bias": true, "hidden_act": "gelu",
    "rope_scaling": {"rope_type": "longrope", "factor": 2.0}, "pretraining_tp": 2,
    "vocab_size_typo": 1})");
  for (const char* word :
       {"attention_bias = true", "hidden_act = \"gelu\"", "\"longrope\"", "pretraining_tp = 2"})
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
  for (const std::string family : {"qwen3", "qwen3_moe", "llama", "gpt2"}) {
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
    if (family == "qwen3_moe") {
      m.num_experts = 16;
      m.num_experts_per_tok = 4;
      m.moe_intermediate_size = 20;
      m.norm_topk_prob = true;
      m.decoder_sparse_step = 2;
      m.mlp_only_layers = {0, 2};
      m.router_aux_loss_coef = 0.0123;
    }
    const std::string text = write_config({.model = m, .dtype = "bfloat16", .separator = 7});
    if (family == "qwen3_moe")  // for transformers 4 and for 5
      CHECK((text.find("\"num_experts\": 16") != std::string::npos &&
             text.find("\"num_local_experts\": 16") != std::string::npos));
    const auto back = read(text);
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

TEST_CASE("every scaling of RoPE is written so that it is read back the same") {
  config::ModelParameters m = read(kLlama + R"(, "max_position_embeddings": 96})");
  m.rope_factor = 3.5;
  const auto check = [&] {
    CAPTURE(m.rope_type);
    const std::string text = write_config({.model = m, .dtype = "float32"});
    CHECK(differences(m, read(text)).empty());
    return text;
  };
  m.rope_type = "linear";
  check();
  m.rope_type = "dynamic";
  check();
  m.rope_type = "llama3";
  m.rope_original_max_position_embeddings = 48;
  check();
  m.rope_type = "yarn";
  // Some readers take a null or a zero literally.
  CHECK(check().find("attention_factor") == std::string::npos);
  m.rope_beta_fast = 20.0;
  m.rope_beta_slow = 3.0;
  m.rope_attention_factor = 0.9;
  m.rope_mscale = 1.5;
  m.rope_mscale_all_dim = 0.5;
  m.rope_truncate = false;
  check();
}

TEST_CASE("scalings of RoPE differ where their formula does") {
  auto a = read(kLlama + "}");
  auto b = a;
  a.rope_type = b.rope_type = "yarn";
  b.rope_beta_fast = 16.0;
  CHECK(differences(a, b).find("rope_beta_fast: 32.0 there, 16.0 here") != std::string::npos);
  a.rope_type = b.rope_type = "linear";
  CHECK(differences(a, b).empty());
  b.max_position_embeddings = 99;
  CHECK(differences(a, b).empty());
  a.rope_type = b.rope_type = "dynamic";  // stretches from there on
  CHECK(differences(a, b).find("max_position_embeddings") != std::string::npos);
}

TEST_CASE("models differ where the weights would mean something else, and only there") {
  const auto a = read(kLlama + "}");
  auto b = a;
  b.max_position_embeddings = 99;
  b.initializer_range = 0.5;
  b.initial_weights = "x";
  b.rope_factor = 2.0;  // no meaning without a type
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
