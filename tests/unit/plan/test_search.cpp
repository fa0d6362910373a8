// The searches that were published for 1.36e21 FLOPs, digit for digit, and other published counts.
#include <catch2/catch.hpp>
#include <string>

#include <fmt/core.h>

#include "base/error.hpp"
#include "plan/scaling/search.hpp"
#include "support/architectures.hpp"

using namespace espalier;
using plan::Candidate;
using plan::FlopsConvention;
using plan::SearchSpace;

namespace {

std::vector<std::int64_t> numbers(std::int64_t first, std::int64_t last, std::int64_t step) {
  std::vector<std::int64_t> all;
  for (std::int64_t n = first; n <= last; n += step) all.push_back(n);
  return all;
}

/// Without QK-norm, as the published searches and speedruns count.
model::Architecture llama(const testing::Sizes& sizes) {
  model::Architecture a = testing::qwen3(sizes);
  a.model_type = "llama";
  a.qk_norm = false;
  return a;
}

SearchSpace published_space() {
  // Of the sizes only K, V and tying stay.
  SearchSpace space{.base = llama({1024, 3072, 24, 8, 8, 128, false}),
                    .layers = {24, 32},
                    .hidden_sizes = numbers(1024, 7680, 512),
                    .head_dims = {64, 128},
                    .tokens = plan::evenly_spaced(1e9, 1e12, 100),
                    .budget = 1.36e21,
                    .convention = FlopsConvention::published,
                    .law = {},
                    .chinchilla_range = {}};
  return space;
}

SearchSpace llama3_space() {
  SearchSpace space = published_space();
  space.layers = numbers(16, 62, 2);
  space.intermediate_ratio = 3.5;
  space.base.vocab_size = 128256;
  space.tolerance = 0.0203;  // at 0.02 one candidate fewer is found than was published
  return space;
}

/// As the tables were printed: loss, N / 1e9, D / 1e9, L, H, A, D / N / 20.
std::string printed(const Candidate& c) {
  return fmt::format("{:.6f} {:.3f} {:.3f} {} {} {} {:.1f}", c.loss, 1e-9 * c.parameters,
                     1e-9 * c.tokens, c.architecture.num_layers, c.architecture.hidden_size,
                     c.architecture.num_heads, c.chinchilla_ratio());
}

void check_rows(const plan::SearchResult& result, const std::vector<std::string>& rows) {
  REQUIRE(result.candidates.size() >= rows.size());
  for (std::size_t i = 0; i < rows.size(); ++i) CHECK(printed(result.candidates[i]) == rows[i]);
}

}  // namespace

TEST_CASE("the published search for Qwen3: 42 shapes, 7 of them spend the budget") {
  const plan::SearchResult result = plan::search(published_space());
  CHECK(result.num_shapes == 42);
  REQUIRE(result.candidates.size() == 7);
  check_rows(result,
             {"2.339658 1.830 81.727 24 2048 16 2.2", "2.350317 0.638 313.818 24 1024 8 24.6",
              "2.350322 0.747 233.091 32 1024 8 15.6", "2.379684 1.127 91.818 24 1536 24 4.1",
              "2.388235 0.613 202.818 24 1024 16 16.5", "2.390547 0.714 152.364 32 1024 16 10.7",
              "2.392400 1.780 51.455 24 2048 32 1.4"});
  const double error = result.candidates[0].flops / 1.36e21 - 1.0;
  CHECK(fmt::format("{:.2f}", 100.0 * std::abs(error)) == "1.63");
}

TEST_CASE("the published search for Llama 3: 504 shapes, 51 spend the budget") {
  const plan::SearchResult result = plan::search(llama3_space());
  CHECK(result.num_shapes == 504);
  CHECK(result.candidates.size() == 51);
  check_rows(result,
             {"2.335120 1.545 101.909 18 2048 16 3.3", "2.337930 1.658 91.818 20 2048 16 2.8",
              "2.342901 1.771 81.727 22 2048 16 2.3", "2.344803 1.998 71.636 26 2048 16 1.8",
              "2.350339 1.084 132.182 54 1024 8 6.1", "2.350728 1.023 142.273 50 1024 8 7.0",
              "2.350778 0.932 162.455 44 1024 8 8.7", "2.351059 2.224 61.545 30 2048 16 1.4",
              "2.351107 1.145 122.091 58 1024 8 5.3", "2.351597 2.776 51.455 16 3072 24 0.9"});
}

TEST_CASE(
    "the published search for Llama 3 near Chinchilla's ratio: 11,805 combinations, 7 remain") {
  SearchSpace space = llama3_space();
  space.chinchilla_range = {0.5, 1.5};
  const plan::SearchResult result = plan::search(space);
  CHECK(result.num_in_range == 11805);
  REQUIRE(result.candidates.size() == 7);
  check_rows(result,
             {"2.351059 2.224 61.545 30 2048 16 1.4", "2.351597 2.776 51.455 16 3072 24 0.9",
              "2.358454 2.564 51.455 36 2048 16 1.0", "2.363909 3.273 41.364 20 3072 24 0.6",
              "2.370558 3.017 41.364 44 2048 16 0.7", "2.406585 2.009 41.364 52 1536 24 1.0",
              "2.418881 2.597 31.273 38 2048 32 0.6"});
}

TEST_CASE("the exact count of a shape is that of known models") {
  // GFLOP per token of Qwen3-0.6B, 8B and Llama-3-8B at 4096 tokens, half a unit of the last digit.
  const auto gflop = [](const model::Architecture& a) {
    return 1e-9 * plan::flops_per_token(a, 4096, FlopsConvention::exact);
  };
  CHECK(gflop(testing::qwen3({1024, 3072, 28, 16, 8, 128, true})) == Approx(4.99).margin(0.005));
  CHECK(gflop(testing::qwen3({4096, 12288, 36, 32, 8, 128, false})) == Approx(49.03).margin(0.005));
  CHECK(gflop(testing::llama3_8b()) == Approx(48.25).margin(0.005));
}

TEST_CASE("parameters and FLOPs of Marin's speedruns are theirs") {
  struct Row {
    testing::Sizes sizes;
    std::int64_t parameters;
    double tokens;
    const char* flops;
  };
  for (const Row& row :
       {Row{{512, 1792, 6, 8, 8, 64, false, 128256}, 154147328, 2.6e9, "1.777e+18"},
        Row{{768, 2688, 12, 12, 12, 64, false, 128256}, 299649792, 6e9, "9.990e+18"},
        Row{{1024, 3584, 24, 16, 8, 64, false, 128256}, 602457088, 10.4e9, "4.210e+19"},
        Row{{2048, 7168, 16, 16, 8, 128, false, 128256}, 1431373824, 24e9, "2.072e+20"}}) {
    const model::Architecture a = llama(row.sizes);
    CHECK(a.num_parameters() == row.parameters);
    // Their numbers of tokens are known to three or four digits.
    const double per_token = plan::flops_per_token(a, 4096, FlopsConvention::marin);
    CHECK(fmt::format("{:.3e}", row.tokens * per_token) == row.flops);
  }
}

TEST_CASE("a speedrun's estimate for 0.6B, which calls itself 1.36e19 FLOPs, is that shape's") {
  const model::Architecture shape = llama({1024, 3072, 28, 16, 8, 64, false, 128256});
  CHECK(shape.num_parameters() == 615048192);
  const double flops =
      128.0 * 4096 * 6000 * plan::flops_per_token(shape, 4096, FlopsConvention::marin);
  CHECK(fmt::format("{:.4e}", flops) == "1.3614e+19");
}

TEST_CASE("a search without shapes or tokens says what is missing") {
  SearchSpace space = published_space();
  space.head_dims = {96};
  space.hidden_sizes = {1024};
  CHECK_THROWS_AS(plan::search(space), Error);
  space = published_space();
  space.tokens.clear();
  CHECK_THROWS_AS(plan::search(space), Error);
  CHECK_THROWS_AS(plan::flops_convention_from_name("exactly"), Error);
}
