// The searches that were published for 1.36e21 FLOPs, digit for digit, and other published counts.
#include <fmt/core.h>

#include <algorithm>
#include <catch2/catch.hpp>
#include <cmath>
#include <optional>
#include <string>

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
  SearchSpace space;
  space.base = llama({1024, 3072, 24, 8, 8, 128, false});  // of the sizes only K, V and tying stay
  space.layers = {24, 32};
  space.hidden_sizes = numbers(1024, 7680, 512);
  space.head_dims = {64, 128};
  space.tokens = plan::evenly_spaced(1e9, 1e12, 100);
  space.budget = 1.36e21;
  space.convention = FlopsConvention::published;
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

/// Every pair of the space, one by one, with N and FLOPs of the whole architecture.
plan::SearchResult walked(const SearchSpace& space) {
  plan::SearchResult result;
  for (const std::int64_t layers : space.layers)
    for (const std::int64_t hidden : space.hidden_sizes)
      for (const std::int64_t head_dim : space.head_dims) {
        if (hidden % head_dim != 0 || hidden / head_dim % space.base.num_kv_heads != 0) continue;
        ++result.num_shapes;
        model::Architecture a = space.base;
        a.num_layers = layers;
        a.hidden_size = hidden;
        a.intermediate = std::llround(space.intermediate_ratio * static_cast<double>(hidden));
        a.num_heads = hidden / head_dim;
        a.head_dim = head_dim;
        const auto parameters = static_cast<double>(a.num_parameters());
        const double flops = plan::flops_per_token(a, space.sequence_length, space.convention);
        std::optional<Candidate> best;
        for (const double tokens : space.tokens) {
          ++result.num_pairs;
          const Candidate c{.architecture = a,
                            .parameters = parameters,
                            .law_parameters = parameters,
                            .tokens = tokens,
                            .loss = space.law.loss(parameters, tokens),
                            .flops = flops * tokens};
          const auto [low, high] = space.chinchilla_range.value_or(std::pair(0.0, HUGE_VAL));
          if (c.chinchilla_ratio() < low || c.chinchilla_ratio() > high) continue;
          ++result.num_in_range;
          if (std::abs(c.flops - space.budget) > space.tolerance * space.budget) continue;
          if (!best || c.loss < best->loss) best = c;
        }
        if (best) result.candidates.push_back(*best);
      }
  std::stable_sort(result.candidates.begin(), result.candidates.end(),
                   [](const Candidate& a, const Candidate& b) { return a.loss < b.loss; });
  return result;
}

void check_equal(const plan::SearchResult& result, const plan::SearchResult& expected) {
  CHECK(result.num_shapes == expected.num_shapes);
  CHECK(result.num_pairs == expected.num_pairs);
  CHECK(result.num_in_range == expected.num_in_range);
  REQUIRE(result.candidates.size() == expected.candidates.size());
  bool is_equal = true;
  for (std::size_t i = 0; i < result.candidates.size(); ++i) {
    const Candidate &a = result.candidates[i], &b = expected.candidates[i];
    is_equal = is_equal && a.loss == b.loss && a.tokens == b.tokens && a.flops == b.flops &&
               a.parameters == b.parameters &&
               a.architecture.num_layers == b.architecture.num_layers &&
               a.architecture.intermediate == b.architecture.intermediate;
  }
  CHECK(is_equal);
}

}  // namespace

TEST_CASE("a search finds what a walk over all of its pairs finds, to the last bit") {
  for (const auto convention : {FlopsConvention::exact, FlopsConvention::published,
                                FlopsConvention::six_n, FlopsConvention::marin})
    for (const double tolerance : {0.001, 0.02, 0.3, 1.0})
      for (const bool is_filtered : {false, true}) {
        INFO(plan::convention_name(convention) << ", " << tolerance << ", " << is_filtered);
        SearchSpace space = llama3_space();
        space.layers = {1, 7, 24, 60};
        space.base.qk_norm = true;
        space.convention = convention;
        space.tolerance = tolerance;
        space.tokens = plan::logarithmically_spaced(1e9, 1e12, 331);
        if (is_filtered) space.chinchilla_range = {0.4, 3.0};
        check_equal(plan::search(space), walked(space));
      }
}

TEST_CASE("a million pairs of shape and tokens are a search, too") {
  SearchSpace space = llama3_space();
  space.layers = numbers(1, 200, 1);
  space.hidden_sizes = numbers(1024, 9216, 512);
  space.tokens = plan::evenly_spaced(1e9, 1e12, 200);
  const plan::SearchResult result = plan::search(space);
  CHECK(result.num_pairs == 200 * result.num_shapes);
  CHECK(result.num_pairs > 1'000'000);
  // The same pairs, one by one, with the numbers of each shape.
  std::size_t passed = 0;
  plan::visit_shapes(space, [&](const plan::Shape& shape) {
    passed += std::any_of(space.tokens.begin(), space.tokens.end(), [&](double tokens) {
      return std::abs(shape.flops_per_token * tokens - space.budget) <=
             space.tolerance * space.budget;
    });
  });
  CHECK(result.candidates.size() == passed);
}

TEST_CASE("without QK-norm counted, N is smaller by its weights and the shape keeps it") {
  SearchSpace space = published_space();
  space.base.qk_norm = true;
  space.count_qk_norm = false;
  const Candidate without = plan::search(space).candidates.front();
  space.count_qk_norm = true;
  const Candidate with = plan::search(space).candidates.front();
  CHECK(printed(without) == "2.339658 1.830 81.727 24 2048 16 2.2");
  CHECK(without.architecture.qk_norm);
  CHECK(with.parameters - without.parameters == 24 * 2 * 128);
}

TEST_CASE("a loss law of N without embeddings is asked with that N") {
  SearchSpace space = published_space();
  space.law_counts_embedding = false;
  for (const Candidate& c : plan::search(space).candidates) {
    CHECK(c.law_parameters ==
          static_cast<double>(c.architecture.num_parameters_without_embedding()));
    CHECK(c.loss == space.law.loss(c.law_parameters, c.tokens));
    CHECK(c.parameters - c.law_parameters == 2.0 * 151936 * c.architecture.hidden_size);
  }
}

TEST_CASE("only shapes with so many parameters are searched") {
  SearchSpace space = llama3_space();
  space.parameter_range = {1.5e9, 2e9};
  const plan::SearchResult result = plan::search(space);
  CHECK(result.num_shapes == 504);
  CHECK(result.num_sized_shapes < 504);
  REQUIRE_FALSE(result.candidates.empty());
  CHECK(printed(result.candidates.front()) == "2.335120 1.545 101.909 18 2048 16 3.3");
  for (const Candidate& c : result.candidates)
    CHECK((c.parameters >= 1.5e9 && c.parameters <= 2e9));
}

TEST_CASE("the rules for ties decide one after the other, and losses may be rounded for them") {
  using plan::TieRule;
  SearchSpace space = llama3_space();
  const auto first = [&](std::vector<TieRule> ties, double resolution = 0.0) {
    space.ties = std::move(ties);
    space.loss_resolution = resolution;
    return plan::search(space).candidates;
  };
  const auto is_sorted_by = [](const std::vector<Candidate>& list, auto&& key) {
    return std::is_sorted(list.begin(), list.end(),
                          [&](const Candidate& a, const Candidate& b) { return key(a) < key(b); });
  };
  CHECK(is_sorted_by(first({TieRule::loss}), [](const Candidate& c) { return c.loss; }));
  CHECK(
      is_sorted_by(first({TieRule::parameters}), [](const Candidate& c) { return c.parameters; }));
  CHECK(is_sorted_by(first({TieRule::layers, TieRule::tokens}), [](const Candidate& c) {
    return std::pair(c.architecture.num_layers, c.tokens);
  }));
  CHECK(is_sorted_by(first({TieRule::flops}),
                     [&](const Candidate& c) { return std::abs(c.flops - space.budget); }));
  // Of the losses near 2.35, which round to the same multiple, the smallest model is the first.
  const std::vector<Candidate> rounded = first({TieRule::loss, TieRule::parameters}, 0.05);
  CHECK(is_sorted_by(rounded, [](const Candidate& c) {
    return std::pair(std::round(c.loss / 0.05), c.parameters);
  }));
  CHECK(rounded.front().parameters < 1e9);
}

TEST_CASE("the intermediate size is rounded to the multiple that is asked for") {
  SearchSpace space = llama3_space();
  space.intermediate_ratio = 8.0 / 3.0;
  space.intermediate_multiple = 256;
  plan::visit_shapes(space, [&](const plan::Shape& shape) {
    CHECK(shape.intermediate % 256 == 0);
    CHECK(std::abs(static_cast<double>(shape.intermediate) -
                   8.0 / 3.0 * static_cast<double>(shape.hidden_size)) <= 128.0);
  });
}

TEST_CASE("with no key and value heads said, every query head has its own") {
  SearchSpace space = llama3_space();
  space.base.num_kv_heads = 0;
  plan::visit_shapes(
      space, [](const plan::Shape& shape) { CHECK(shape.num_kv_heads == shape.num_heads); });
}

TEST_CASE("numbers of tokens begin and end where they are said to") {
  for (const auto& tokens :
       {plan::evenly_spaced(1e9, 1e12, 100), plan::logarithmically_spaced(1e9, 1e12, 100)}) {
    CHECK(tokens.size() == 100);
    CHECK(tokens.front() == 1e9);
    CHECK(tokens.back() == 1e12);
    CHECK(std::is_sorted(tokens.begin(), tokens.end()));
  }
  const auto tokens = plan::logarithmically_spaced(1e9, 1e12, 4);
  CHECK(tokens[1] == Approx(1e10));
  CHECK(tokens[2] == Approx(1e11));
}

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
       {Row{{512, 1792, 6, 8, 8, 64, false, 128256}, 154147328, 2.6e9, "1.7773e+18"},
        Row{{768, 2688, 12, 12, 12, 64, false, 128256}, 299649792, 6e9, "9.9904e+18"},
        Row{{1024, 3584, 24, 16, 8, 64, false, 128256}, 602457088, 10.4e9, "4.2104e+19"},
        Row{{2048, 7168, 16, 16, 8, 128, false, 128256}, 1431373824, 24e9, "2.0716e+20"}}) {
    const model::Architecture a = llama(row.sizes);
    CHECK(a.num_parameters() == row.parameters);
    // A step has 128 sequences, and a run whole steps.
    const double step = 128.0 * 4096;
    const double tokens = std::floor(row.tokens / step) * step;
    const double per_token = plan::flops_per_token(a, 4096, FlopsConvention::marin);
    CHECK(fmt::format("{:.4e}", tokens * per_token) == row.flops);
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
