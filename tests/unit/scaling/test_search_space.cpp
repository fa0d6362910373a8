// [search], [loss_law] and [model] as a space: what they mean, and what is wrong with them.
#include <catch2/catch.hpp>
#include <functional>

#include "plan/scaling/nearest_miss.hpp"
#include "plan/scaling/search_space.hpp"
#include "support/expect_error.hpp"

using namespace espalier;
using config::Parameters;
using testing::expect_words;
using testing::message_of;

namespace {

/// The published search for Llama 3.
Parameters input() {
  Parameters p;
  p.model.model_type = "llama";
  p.model.vocab_size = 128256;
  p.model.num_key_value_heads = 8;
  p.model.max_position_embeddings = 8192;
  p.search.budget = 1.36e21;
  p.search.tolerance = 0.0203;
  p.search.flops = "published";
  p.search.layers_min = 16;
  p.search.layers_max = 62;
  p.search.layers_step = 2;
  p.search.hidden_min = 1024;
  p.search.hidden_max = 7680;
  p.search.hidden_step = 512;
  p.search.intermediate_ratio = 3.5;
  return p;
}

/// What is said of the input after a change.
std::string complaint(const std::function<void(Parameters&)>& change) {
  Parameters p = input();
  change(p);
  return message_of([&] { plan::space_of(p); });
}

std::string why_nothing(const std::function<void(Parameters&)>& change) {
  Parameters p = input();
  change(p);
  const plan::SearchSpace space = plan::space_of(p);
  REQUIRE(plan::search(space).candidates.empty());
  return plan::why_nothing_passes(space);
}

}  // namespace

TEST_CASE("the keys of a search say its space") {
  Parameters p = input();
  p.search.tokens_count = 7;
  p.search.chinchilla_max = 1.5;
  p.search.parameters_min = 1e9;
  p.search.ties = {"layers", "flops"};
  p.search.loss_resolution = 0.01;
  p.search.intermediate_multiple = 64;
  p.loss_law.counts = "without_embedding";
  p.loss_law.beta = 0.37;
  p.training.sequence_length = 4096;
  const plan::SearchSpace space = plan::space_of(p);
  CHECK(space.layers.size() == 24);
  CHECK(space.hidden_sizes.back() == 7680);
  CHECK(space.head_dims == std::vector<std::int64_t>{64, 128});
  CHECK(space.tokens.size() == 7);
  CHECK(space.chinchilla_range->first == 0.0);
  CHECK(space.chinchilla_range->second == 1.5);
  CHECK(space.parameter_range->first == 1e9);
  CHECK(space.parameter_range->second > 1e30);
  CHECK(space.ties == std::vector{plan::TieRule::layers, plan::TieRule::flops});
  CHECK(space.loss_resolution == 0.01);
  CHECK(space.intermediate_multiple == 64);
  CHECK(space.convention == plan::FlopsConvention::published);
  CHECK_FALSE(space.law_counts_embedding);
  CHECK(space.law.beta == 0.37);
  CHECK(space.sequence_length == 4096);
  CHECK(space.base.num_kv_heads == 8);
  CHECK(space.base.model_type == "llama");
}

TEST_CASE("lists stand in place of ranges") {
  Parameters p = input();
  p.search.layers_min = p.search.layers_max = 0;
  p.search.layers = {24, 32};
  p.search.hidden_min = p.search.hidden_max = 0;
  p.search.hidden_sizes = {2048, 1024};
  const plan::SearchSpace space = plan::space_of(p);
  CHECK(space.layers == std::vector<std::int64_t>{24, 32});
  CHECK(space.hidden_sizes == std::vector<std::int64_t>{2048, 1024});
  CHECK(plan::search(space).num_shapes == 8);
}

TEST_CASE("a range ends below its maximum where its step does not meet it") {
  Parameters p = input();
  p.search.layers_min = 16;
  p.search.layers_max = 21;
  p.search.layers_step = 3;
  CHECK(plan::space_of(p).layers == std::vector<std::int64_t>{16, 19});
}

TEST_CASE("budgets, tolerances and laws that mean nothing are refused") {
  expect_words(complaint([](Parameters& p) { p.search.budget = 0; }),
               {"search.budget", "not set", "1.36e21"});
  expect_words(complaint([](Parameters& p) { p.search.tolerance = 0; }),
               {"search.tolerance = 0", "0.02"});
  expect_words(complaint([](Parameters& p) { p.loss_law.a = 0; }), {"loss_law.a = 0", "above 0"});
  expect_words(complaint([](Parameters& p) { p.loss_law.beta = 0; }),
               {"loss_law.beta = 0", "above 0"});
}

TEST_CASE("sizes that the search chooses are not said in [model], nor is the length of the run") {
  expect_words(complaint([](Parameters& p) { p.model.num_hidden_layers = 24; }),
               {"model.num_hidden_layers = 24", "remove", "search.layers = [24]"});
  expect_words(complaint([](Parameters& p) { p.model.hidden_size = 1024; }),
               {"model.hidden_size = 1024", "model.file", "search.hidden_sizes = [1024]"});
  expect_words(complaint([](Parameters& p) { p.model.head_dim = 64; }),
               {"model.head_dim = 64", "search.head_dims"});
  expect_words(complaint([](Parameters& p) { p.model.num_attention_heads = 8; }),
               {"model.num_attention_heads = 8", "remove"});
  expect_words(complaint([](Parameters& p) { p.model.intermediate_size = 8; }),
               {"model.intermediate_size = 8", "search.intermediate_ratio"});
  expect_words(complaint([](Parameters& p) { p.training.tokens = 5; }),
               {"training.tokens", "search.tokens_min"});
  expect_words(complaint([](Parameters& p) { p.training.steps = 5; }), {"training.steps"});
}

TEST_CASE("what shapes share must make a model") {
  expect_words(complaint([](Parameters& p) { p.model.vocab_size = 0; }),
               {"model.vocab_size", "not set"});
  expect_words(complaint([](Parameters& p) { p.model.rms_norm_eps = 0; }),
               {"model.rms_norm_eps", "above 0"});
  expect_words(complaint([](Parameters& p) { p.training.sequence_length = 16384; }),
               {"training.sequence_length = 16384", "model.max_position_embeddings = 8192"});
  expect_words(complaint([](Parameters& p) { p.model.model_type = "qwen3_moe"; }),
               {"model_type = \"qwen3_moe\"", "dense", "use \"qwen3\""});
  expect_words(complaint([](Parameters& p) { p.model.model_type = "gpt2"; }),
               {"search.flops = \"published\"", "SwiGLU", "exact"});
}

TEST_CASE("ranges, lists and steps that contradict each other are refused") {
  expect_words(complaint([](Parameters& p) { p.search.layers = {24}; }),
               {"search.layers", "search.layers_min", "both set"});
  expect_words(complaint([](Parameters& p) { p.search.hidden_min = p.search.hidden_max = 0; }),
               {"search.hidden_sizes", "search.hidden_min", "name a list, or a range"});
  expect_words(complaint([](Parameters& p) { p.search.layers_min = 64; }),
               {"search.layers_min = 64", "search.layers_max = 62"});
  expect_words(complaint([](Parameters& p) { p.search.hidden_min = 0; }),
               {"search.hidden_min", "0 to 7680", "1 to 1048576"});
  expect_words(complaint([](Parameters& p) {
                 p.search.layers_min = p.search.layers_max = 0;
                 p.search.layers = {24, 32, 24};
               }),
               {"search.layers names 24 twice"});
  expect_words(complaint([](Parameters& p) {
                 p.search.layers_min = p.search.layers_max = 0;
                 p.search.layers = {-3};
               }),
               {"search.layers names -3", "1 to 10000"});
  expect_words(complaint([](Parameters& p) { p.search.head_dims = {}; }),
               {"search.head_dims is empty"});
  expect_words(complaint([](Parameters& p) { p.search.head_dims = {63}; }),
               {"search.head_dims names 63", "even"});
  expect_words(complaint([](Parameters& p) { p.search.intermediate_ratio = 0; }),
               {"search.intermediate_ratio = 0"});
  expect_words(complaint([](Parameters& p) { p.search.intermediate_ratio = 1000; }),
               {"search.intermediate_ratio = 1000", "lower"});
  expect_words(complaint([](Parameters& p) {
                 p.search.layers_max = 10000;
                 p.search.layers_step = p.search.hidden_step = 1;
               }),
               {"combinations", "search.layers_step"});
}

TEST_CASE("numbers of tokens that contradict each other are refused") {
  expect_words(complaint([](Parameters& p) { p.search.tokens_min = 2e12; }),
               {"search.tokens_min = 2", "search.tokens_max = 1", "exchange"});
  expect_words(complaint([](Parameters& p) { p.search.tokens_count = 1; }),
               {"search.tokens_count = 1", "larger count"});
  expect_words(complaint([](Parameters& p) { p.search.tokens_min = 1e12; }),
               {"one number of tokens", "search.tokens_count = 100"});
  expect_words(complaint([](Parameters& p) { p.search.tokens_max = 1e30; }),
               {"search.tokens_max", "at most"});
  expect_words(complaint([](Parameters& p) { p.search.tokens_count = 1'000'000'000; }),
               {"search.tokens_count = 1000000000", "at most"});
  Parameters p = input();
  p.search.tokens_count = 1;
  p.search.tokens_min = p.search.tokens_max = 101.909e9;
  CHECK(plan::search(plan::space_of(p)).num_pairs == 504);
}

TEST_CASE("filters that contradict each other, or that nothing passes, are refused") {
  expect_words(complaint([](Parameters& p) {
                 p.search.chinchilla_min = 2;
                 p.search.chinchilla_max = 1;
               }),
               {"search.chinchilla_min = 2", "search.chinchilla_max = 1"});
  expect_words(complaint([](Parameters& p) {
                 p.search.parameters_min = 2e9;
                 p.search.parameters_max = 1e9;
               }),
               {"search.parameters_min = 2", "search.parameters_max = 1"});
  expect_words(complaint([](Parameters& p) { p.search.parameters_min = 1e12; }),
               {"search.parameters_min", "1e+12", "the shapes of the space have"});
  expect_words(
      complaint([](Parameters& p) { p.search.chinchilla_min = 1000; }),
      {"search.chinchilla_min", "1000", "the pairs of the space have", "search.tokens_max"});
  // Between two numbers of tokens of every shape.
  expect_words(complaint([](Parameters& p) {
                 p.search.tokens_count = 2;
                 p.search.chinchilla_min = 1.0;
                 p.search.chinchilla_max = 1.0001;
               }),
               {"search.chinchilla_min", "tokens_count"});
}

TEST_CASE("rules for ties that are none, or none at all, are refused") {
  expect_words(complaint([](Parameters& p) {
                 p.search.ties = {"loss", "paramters"};
               }),
               {"\"paramters\"", "nearest is \"parameters\"", "loss, parameters, tokens"});
  expect_words(complaint([](Parameters& p) { p.search.ties = {}; }), {"search.ties is empty"});
  expect_words(complaint([](Parameters& p) {
                 p.search.ties = {"loss", "loss"};
               }),
               {"\"loss\" twice"});
}

TEST_CASE("a space without a shape says which sizes would fit") {
  const std::string text = complaint([](Parameters& p) {
    p.search.hidden_min = p.search.hidden_max = 0;
    p.search.hidden_sizes = {1024};
    p.search.head_dims = {96};
  });
  // 96 x 8 = 768 is nearer to 1024 than 1536, and 1024 is 16 heads of 64.
  expect_words(text, {"no shape", "model.num_key_value_heads = 8", "search.head_dims = [96]",
                      "hidden size of 768 fits heads of 96", "heads of 64"});
  expect_words(complaint([](Parameters& p) { p.model.num_key_value_heads = 1000; }),
               {"no shape", "model.num_key_value_heads = 1000", "hidden size of 64000"});
}

TEST_CASE("several mistakes are told at once") {
  const std::string text = complaint([](Parameters& p) {
    p.search.budget = 0;
    p.search.ties = {"size"};
    p.search.tokens_min = 2e12;
    p.model.num_hidden_layers = 3;
  });
  CHECK(testing::num_lines(text) == 4);
}

TEST_CASE("where no pair spends the budget the nearest miss is named, and what would take it") {
  const auto narrow = [](Parameters& p) { p.search.tolerance = 1e-5; };
  const std::string text = why_nothing(narrow);
  expect_words(text, {"search.budget = 1.36e+21", "nearest",
                      "search.tolerance = ", "search.tokens_count = "});
  // Both remedies do what they promise.
  const auto number_after = [&](const std::string& words) {
    return std::stod(text.substr(text.find(words + " = ") + words.size() + 3));
  };
  Parameters p = input();
  narrow(p);
  p.search.tolerance = std::stod(text.substr(text.rfind("search.tolerance = ") + 19));
  CHECK_FALSE(plan::search(plan::space_of(p)).candidates.empty());
  narrow(p);
  p.search.tokens_count = static_cast<std::int64_t>(number_after("search.tokens_count"));
  CHECK_FALSE(plan::search(plan::space_of(p)).candidates.empty());
  p.search.tokens_spacing = "logarithmic";
  p.search.tokens_count = 100;
  const std::string logarithmic = plan::why_nothing_passes(plan::space_of(p));
  p.search.tokens_count =
      std::stoll(logarithmic.substr(logarithmic.find("search.tokens_count = ") + 22));
  CHECK_FALSE(plan::search(plan::space_of(p)).candidates.empty());
}

TEST_CASE("budgets out of reach name the end of the tokens, and how far they must go") {
  const std::string large = why_nothing([](Parameters& p) { p.search.budget = 1e30; });
  expect_words(large, {"search.budget = 1e+30", "search.tokens_max = ", "larger shapes"});
  const std::string small = why_nothing([](Parameters& p) { p.search.budget = 1e12; });
  expect_words(small, {"times the budget", "search.tokens_min = ", "smaller shapes"});
}

TEST_CASE("a filter that keeps every pair from the budget is named as such") {
  const std::string text = why_nothing([](Parameters& p) {
    p.search.chinchilla_min = 0.001;
    p.search.chinchilla_max = 0.0012;
  });
  expect_words(text, {"search.chinchilla_max", "without the filter"});
}
