#include <catch2/catch.hpp>
#include <cmath>
#include <map>
#include <vector>

#include "data/source_mix.hpp"
#include "support/expect_error.hpp"

using namespace espalier::data;

TEST_CASE("Every sample of a source comes once, in order, and can be found again", "[data]") {
  const std::vector<double> weights{0.5, 3.0, 1.25};
  const SourceMix mix(weights);
  std::vector<std::uint64_t> taken(3, 0);
  for (std::uint64_t g = 0; g < 25'000; ++g) {
    for (std::size_t i = 0; i < 3; ++i) REQUIRE(mix.count(i, g) == taken[i]);
    const SourceMix::Place place = mix.place(g);
    REQUIRE(place.index == taken[place.source]);
    REQUIRE(mix.global_index(place.source, place.index) == g);
    ++taken[place.source];
  }
}

TEST_CASE("At any time a source is within a sample or so of its share", "[data]") {
  const std::vector<std::vector<double>> cases{
      {1.0}, {1.0, 1.0}, {0.7, 0.3}, {1.0, 999.0}, {5.0, 3.0, 2.0}, {0.9, 0.05, 0.03, 0.02}};
  for (const auto& weights : cases) {
    const SourceMix mix(weights);
    double total = 0.0;
    for (const double weight : weights) total += weight;
    double worst = 0.0;
    for (std::uint64_t n = 0; n <= 20'000; ++n)
      for (std::size_t i = 0; i < weights.size(); ++i)
        worst = std::max(worst, std::abs(static_cast<double>(mix.count(i, n)) -
                                         weights[i] / total * static_cast<double>(n)));
    INFO(weights.size() << " sources, first weight " << weights[0]);
    CHECK(worst <= (weights.size() <= 2 ? 1.0 : 1.5));
    for (std::size_t i = 0; i < weights.size(); ++i)
      CHECK(mix.share(i) == Approx(weights[i] / total).margin(0.5 / 10'000));
  }
}

TEST_CASE("A weight too small to be given a sample is refused", "[data]") {
  const std::vector<double> weights{1.0, 1.0e-6};
  espalier::testing::expect_words(espalier::testing::message_of([&] { SourceMix{weights}; }),
                                  {"data.sources", "1e-06", "20000"});
}

TEST_CASE("What can be had without repeating a sample is known beforehand", "[data]") {
  const std::vector<std::uint32_t> tokens(101);
  const TokenStream stream({{tokens}});
  const std::vector<double> weights{3.0, 1.0};
  for (const std::uint64_t small : {1, 4, 7})
    for (const std::uint64_t large : {9, 20}) {
      const Sources sources({{&stream, large, SampleOrder(large, 1, true)},
                             {&stream, small, SampleOrder(small, 2, true)}},
                            SourceMix(weights));
      std::map<std::pair<std::size_t, std::uint64_t>, int> seen;
      std::uint64_t g = 0;
      const SourceMix mix(weights);
      while (++seen[{mix.place(g).source, sources.sample(g).index}] == 1) ++g;
      CHECK(sources.samples_without_repeat() == g);
      CHECK(sources.epochs(1, g) <= 1.0);
    }
}
