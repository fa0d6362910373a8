#include <algorithm>
#include <catch2/catch.hpp>
#include <numeric>
#include <vector>

#include "base/error.hpp"
#include "data/batch.hpp"

using namespace espalier::data;

namespace {

/// Tokens 0, 1, 2, ... cut into shards of the given sizes.
struct CountingStream {
  std::vector<std::vector<std::uint32_t>> storage;
  TokenStream stream{{}};

  explicit CountingStream(const std::vector<std::size_t>& sizes) {
    std::uint32_t next = 0;
    std::vector<ShardView> views;
    for (std::size_t size : sizes) {
      storage.emplace_back(size);
      std::iota(storage.back().begin(), storage.back().end(), next);
      next += static_cast<std::uint32_t>(size);
    }
    for (const auto& shard : storage) views.push_back({shard});
    stream = TokenStream(views);
  }
};

/// The stream as the only source, in the order of `seed` (0: as it lies).
Sources only_source(const TokenStream& stream, std::int64_t sequence_length,
                    std::uint64_t seed = 0) {
  const std::uint64_t samples = stream.num_samples(sequence_length);
  const std::vector<double> weights{1.0};
  return {{{&stream, samples, SampleOrder(samples, seed, seed != 0)}}, SourceMix(weights)};
}

}  // namespace

TEST_CASE("A stream reads across shard ends and empty shards", "[data]") {
  const CountingStream data({0, 3, 0, 0, 1, 7, 0});
  REQUIRE(data.stream.size() == 11);
  for (std::uint64_t first = 0; first <= 11; ++first)
    for (std::uint64_t count = 0; first + count <= 11; ++count) {
      std::vector<std::uint32_t> out(count, 99);
      data.stream.copy(first, out);
      for (std::uint64_t i = 0; i < count; ++i) REQUIRE(out[i] == first + i);
    }
  std::vector<std::uint32_t> out(2);
  CHECK_THROWS_AS(data.stream.copy(10, out), espalier::Error);
  CHECK_THROWS_AS(data.stream.copy(~std::uint64_t{0}, out), espalier::Error);
}

TEST_CASE("The last token of a sample is only a target", "[data]") {
  CHECK(CountingStream({}).stream.num_samples(4) == 0);
  CHECK(CountingStream({1}).stream.num_samples(4) == 0);
  CHECK(CountingStream({4}).stream.num_samples(4) == 0);
  CHECK(CountingStream({5}).stream.num_samples(4) == 1);
  CHECK(CountingStream({4, 4}).stream.num_samples(4) == 1);
  CHECK(CountingStream({4, 5}).stream.num_samples(4) == 2);
}

TEST_CASE("A micro-batch holds samples and the token after each", "[data]") {
  const CountingStream data({10, 15});
  const Sources sources = only_source(data.stream, 4);
  MicroBatch batch;
  load_micro_batch(
      sources,
      {.sequence_length = 4, .micro_batch_size = 2, .num_micro_batches = 1, .data_rank = 0}, 1, 0,
      batch);
  CHECK(batch.samples == std::vector<std::uint32_t>{4, 5, 6, 7, 8, 8, 9, 10, 11, 12});
  CHECK(batch.num_samples == 2);
  CHECK(batch.num_counted == 2);
  CHECK(batch.document_positions.empty());
}

TEST_CASE("Sequences of one token have a target", "[data]") {
  const CountingStream data({2, 2});
  const Sources sources = only_source(data.stream, 1);
  MicroBatch batch;
  load_micro_batch(
      sources,
      {.sequence_length = 1, .micro_batch_size = 3, .num_micro_batches = 1, .data_rank = 0}, 0, 0,
      batch);
  CHECK(batch.samples == std::vector<std::uint32_t>{0, 1, 1, 2, 2, 3});
}

TEST_CASE("Every grid sees the same samples in a step", "[data]") {
  const CountingStream data({301, 200, 12});
  const Sources sources = only_source(data.stream, 8, 17);
  const std::uint64_t consumed = 60;  // the step goes over the end of the epoch of 64 samples
  const auto first_tokens = [&](std::int64_t ranks, std::int64_t micros, std::int64_t size) {
    std::vector<std::uint32_t> firsts;
    MicroBatch batch;
    for (std::int64_t rank = 0; rank < ranks; ++rank)
      for (std::int64_t micro = 0; micro < micros; ++micro) {
        load_micro_batch(sources,
                         {.sequence_length = 8,
                          .micro_batch_size = size,
                          .num_micro_batches = micros,
                          .data_rank = rank},
                         consumed, micro, batch);
        for (std::int64_t b = 0; b < size; ++b)
          firsts.push_back(batch.samples[static_cast<std::size_t>(b * 9)]);
      }
    return firsts;
  };
  const auto reference = first_tokens(1, 1, 12);
  CHECK(first_tokens(2, 3, 2) == reference);
  CHECK(first_tokens(4, 1, 3) == reference);
  CHECK(first_tokens(1, 12, 1) == reference);
  CHECK(first_tokens(12, 1, 1) == reference);
}

TEST_CASE("Validation past the end does not count", "[data]") {
  const CountingStream data({13});
  MicroBatch batch;
  load_validation_batch(data.stream, {4, 2}, 2, 3, batch);
  CHECK(batch.samples == std::vector<std::uint32_t>{8, 9, 10, 11, 12, 0, 0, 0, 0, 0});
  CHECK(batch.num_counted == 1);
  load_validation_batch(data.stream, {4, 2}, 4, 3, batch);
  CHECK(batch.num_samples == 2);
  CHECK(batch.num_counted == 0);
}

TEST_CASE("Misuse of the batch loader is an error", "[data]") {
  const CountingStream data({13});
  const Sources sources = only_source(data.stream, 4);
  MicroBatch batch;
  BatchShape shape{
      .sequence_length = 4, .micro_batch_size = 1, .num_micro_batches = 2, .data_rank = 0};
  CHECK_THROWS_AS(load_micro_batch(sources, shape, 0, 2, batch), espalier::Error);
  shape.sequence_length = 0;
  CHECK_THROWS_AS(load_micro_batch(sources, shape, 0, 0, batch), espalier::Error);
  CHECK_THROWS_AS(load_validation_batch(data.stream, {5, 1}, 2, 3, batch), espalier::Error);
}
