#include <catch2/catch.hpp>
#include <numeric>
#include <vector>

#include "data/batch.hpp"

using namespace espalier::data;

namespace {

using Ints = std::vector<std::int32_t>;

/// Tokens 0, 1, 2, ... in two shards of documents:
///   shard 0: [0 1 2] [3] [4 5 6 7]    shard 1: [8 9] [10 11 12 13 14 15 16]
struct Documents {
  std::vector<std::uint32_t> tokens = std::vector<std::uint32_t>(17);
  std::vector<std::uint64_t> first{0, 3, 4}, second{0, 2};
  TokenStream stream{{}};

  Documents() {
    std::iota(tokens.begin(), tokens.end(), 0U);
    const std::span<const std::uint32_t> all(tokens);
    stream = TokenStream({{all.first(8), first}, {}, {all.subspan(8), second}});
  }
};

MicroBatch validation_batch(const Documents& data, const DocumentRule& rule, std::uint64_t sample) {
  MicroBatch batch;
  load_validation_batch(data.stream, {4, 1, rule}, sample, 4, batch);
  return batch;
}

}  // namespace

TEST_CASE("The bounds of documents are found across shards", "[data]") {
  const Documents data;
  const std::vector<std::uint64_t> begins{0, 3, 4, 8, 10};
  for (std::uint64_t token = 0; token < 17; ++token) {
    const auto next = std::upper_bound(begins.begin(), begins.end(), token);
    CHECK(data.stream.next_document(token) == (next == begins.end() ? 17 : *next));
    for (std::uint64_t last = token; last < 17; ++last)
      CHECK(
          data.stream.documents_between(token, last) ==
          static_cast<std::uint64_t>(std::upper_bound(begins.begin(), begins.end(), last) - next));
  }
}

TEST_CASE("A shard that names no document is one", "[data]") {
  const std::vector<std::uint32_t> tokens(5);
  const TokenStream stream({{tokens}, {tokens}});
  CHECK(stream.next_document(0) == 5);
  CHECK(stream.next_document(5) == 10);
  CHECK(stream.documents_between(0, 9) == 1);
}

TEST_CASE("A document that starts past the end of its shard is refused by name", "[data]") {
  const std::vector<std::uint32_t> tokens(5);
  for (const std::uint64_t wrong : {std::uint64_t{5}, ~std::uint64_t{0}}) {
    const std::vector<std::uint64_t> starts{0, 2, wrong};
    const TokenStream stream({{tokens, starts, "train-00007.h5"}, {tokens}});
    CHECK(stream.next_document(1) == 2);
    CHECK_THROWS_WITH(stream.next_document(2),
                      Catch::Contains("train-00007.h5") && Catch::Contains("tokenize"));
  }
}

TEST_CASE("A sample's tokens come with their places in their documents", "[data]") {
  const Documents data;
  for (const DocumentRule& rule :
       {DocumentRule{.mask = true}, DocumentRule{.predict_across = false},
        DocumentRule{.mask = true, .predict_across = false}}) {
    // 0 1 2 | 3; its last target 4 begins the next
    CHECK(validation_batch(data, rule, 0).document_positions == Ints{0, 1, 2, 0, 0});
    CHECK(validation_batch(data, rule, 1).document_positions == Ints{0, 1, 2, 3, 0});
    CHECK(validation_batch(data, rule, 2).document_positions == Ints{0, 1, 0, 1, 2});
    // The rest of a document is counted in the sample.
    CHECK(validation_batch(data, rule, 3).document_positions == Ints{0, 1, 2, 3, 4});
    CHECK(validation_batch(data, rule, 4).num_counted == 0);
    CHECK(validation_batch(data, rule, 4).document_positions == Ints{0, 1, 2, 3, 4});
    CHECK(validation_batch(data, rule, 0).documents.mask == rule.mask);
  }
  CHECK(validation_batch(data, {}, 0).document_positions.empty());
  const DocumentRule rule{.predict_across = false};
  CHECK(count_targets(data.stream, {4, 1, rule}, 4) == 12);
  CHECK(count_targets(data.stream, {4, 1, rule}, 1) == 2);
  CHECK(count_targets(data.stream, {4, 1, rule}, 0) == 0);
}

TEST_CASE("With a mask, attention costs as in shorter sequences", "[data]") {
  const Documents data;
  const std::vector<double> weights{1.0};
  const Sources sources({{&data.stream, 4, SampleOrder(4, 5, true)}}, SourceMix(weights));
  CHECK(attended_length(sources, 4, {}) == 4.0);
  // 3 + 1, 4, 2 + 2, 4
  CHECK(attended_length(sources, 4, {.mask = true}) == (9 + 1 + 16 + 4 + 4 + 16) / 16.0);
}

TEST_CASE("The targets of a step are counted without reading them", "[data]") {
  const Documents data;
  const DocumentRule rule{.mask = true, .predict_across = false};
  const std::vector<double> weights{1.0};
  const Sources sources({{&data.stream, 4, SampleOrder(4, 5, true)}}, SourceMix(weights));
  const BatchShape shape{.sequence_length = 4,
                         .micro_batch_size = 1,
                         .num_micro_batches = 1,
                         .data_rank = 0,
                         .documents = rule};
  MicroBatch batch;
  for (std::uint64_t first = 0; first < 9; ++first)
    for (std::uint64_t count = 0; count < 7; ++count) {
      std::uint64_t counted = 0;
      for (std::uint64_t g = first; g < first + count; ++g) {
        load_micro_batch(sources, shape, g, 0, batch);
        for (std::size_t s = 1; s <= 4; ++s) counted += batch.document_positions[s] != 0 ? 1 : 0;
      }
      CHECK(count_targets(sources, 4, rule, first, count) == counted);
      CHECK(count_targets(sources, 4, {}, first, count) == 4 * count);
    }
}
