// Which tokens of a sequence each rank of a context group has.
#include "parallel/layout/context_blocks.hpp"

#include <algorithm>
#include <catch2/catch.hpp>
#include <numeric>
#include <random>

#include "base/error.hpp"

using namespace espalier::parallel;

namespace {

/// Places of tokens in their documents, whose lengths `next_length` gives; the last is cut off.
template <class NextLength>
std::vector<std::int32_t> places(std::int64_t count, NextLength&& next_length) {
  std::vector<std::int32_t> result;
  while (std::ssize(result) < count) {
    const auto length = std::max<std::int64_t>(1, next_length());
    for (std::int32_t i = 0; i < length && std::ssize(result) < count; ++i) result.push_back(i);
  }
  return result;
}

/// The keys that each rank's queries of sequence `b` attend to, counted token by token.
std::vector<std::int64_t> keys_of_ranks(const ContextBlocks& c,
                                        const std::vector<std::int32_t>& starts, std::int64_t b,
                                        const std::vector<std::int32_t>& positions) {
  std::vector<std::int64_t> keys;
  for (std::int64_t rank = 0; rank < c.num_ranks; ++rank) {
    keys.push_back(0);
    for (std::int64_t j = 0; j < c.blocks_per_rank(); ++j) {
      const std::int64_t start =
          starts[static_cast<std::size_t>((rank * c.num_sequences + b) * c.blocks_per_rank() + j)];
      for (std::int64_t token = start; token < start + c.block_length; ++token)
        keys.back() += 1 + (positions.empty() ? token : positions[static_cast<std::size_t>(token)]);
    }
  }
  return keys;
}

double largest_over_mean(const std::vector<std::int64_t>& keys) {
  const auto sum = std::accumulate(keys.begin(), keys.end(), 0.0);
  return static_cast<double>(*std::max_element(keys.begin(), keys.end())) *
         static_cast<double>(keys.size()) / sum;
}

/// Every token on exactly one rank, as many on each, ascending; and the two orders of the tokens.
void check(const ContextBlocks& c, const std::vector<std::int32_t>& starts) {
  INFO("S " << c.sequence_length << ", ranks " << c.num_ranks << ", B " << c.num_sequences
            << ", blocks of " << c.block_length);
  REQUIRE(std::ssize(starts) == c.num_ranks * c.num_sequences * c.blocks_per_rank());
  std::vector<int> owners(static_cast<std::size_t>(c.tokens()), 0);
  std::vector<std::int32_t> by_rank;  // the tokens, as the ranks have them
  std::size_t i = 0;
  for (std::int64_t rank = 0; rank < c.num_ranks; ++rank)
    for (std::int64_t b = 0; b < c.num_sequences; ++b)
      for (std::int64_t j = 0; j < c.blocks_per_rank(); ++j, ++i) {
        REQUIRE((j == 0 || starts[i] > starts[i - 1]));
        REQUIRE(starts[i] % c.block_length == 0);
        for (std::int64_t s = starts[i]; s < starts[i] + c.block_length; ++s) {
          REQUIRE(s < c.sequence_length);
          by_rank.push_back(static_cast<std::int32_t>(b * c.sequence_length + s));
          ++owners[static_cast<std::size_t>(by_rank.back())];
        }
      }
  REQUIRE(std::all_of(owners.begin(), owners.end(), [](int n) { return n == 1; }));
  const ContextOrder order = context_order(c, starts);
  REQUIRE(order.token_of_row == by_rank);
  for (std::size_t row = 0; row < by_rank.size(); ++row)
    REQUIRE(order.row_of_token[static_cast<std::size_t>(by_rank[row])] ==
            static_cast<std::int32_t>(row));
}

}  // namespace

TEST_CASE("every token of every sequence is on one rank, with and without documents") {
  std::mt19937 random(5);
  for (const std::int64_t ranks : {1, 2, 3, 4, 6, 7, 16})
    for (const std::int64_t batch : {1, 2, 3})
      for (const std::int64_t block : {1, 2, 5, 16, 128})
        for (const std::int64_t blocks : {1, 2, 3, 7}) {
          const ContextBlocks c{.num_ranks = ranks,
                                .num_sequences = batch,
                                .sequence_length = ranks * block * blocks,
                                .block_length = block};
          check(c, block_starts(c));
          const std::int64_t row = c.sequence_length + 1;
          std::vector<std::int32_t> positions;
          for (std::int64_t b = 0; b < batch; ++b) {
            const auto more = places(row, [&] { return random() % 40; });
            positions.insert(positions.end(), more.begin(), more.end());
          }
          check(c, block_starts(c, positions, row));
        }
}

TEST_CASE("without documents a rank has one block from the head and one from the tail") {
  for (const std::int64_t n : {2, 3, 4, 16}) {
    const ContextBlocks c{
        .num_ranks = n, .num_sequences = 2, .sequence_length = 2 * n * 8, .block_length = 8};
    const std::vector<std::int32_t> starts = block_starts(c);
    for (std::int64_t rank = 0; rank < n; ++rank)
      for (std::int64_t b = 0; b < 2; ++b) {
        // The largest share of attention, the last block, goes to rank 0.
        const auto at = static_cast<std::size_t>((rank * 2 + b) * 2);
        CHECK(starts[at] == rank * 8);
        CHECK(starts[at + 1] == (2 * n - 1 - rank) * 8);
      }
    CHECK(largest_over_mean(keys_of_ranks(c, starts, 1, {})) == 1.0);
  }
}

// Largest of the 16 ranks over their mean, of eight sequences: blocks by their shares have 1.014,
// 1.002 and 1.001 for documents of 1k, 8k and 32k tokens (means of lognormal lengths); two chunks
// of the sequence for each rank, head and tail, 3.4, 2.9 and 2.1.
TEST_CASE("attention over documents of uneven lengths is shared evenly") {
  const ContextBlocks c{
      .num_ranks = 16, .num_sequences = 1, .sequence_length = 131072, .block_length = 128};
  struct Expected {
    double mean_length, worst;
  };
  for (const Expected& e : {Expected{1024.0, 1.02}, {8192.0, 1.004}, {32768.0, 1.002}}) {
    std::mt19937_64 random(11);
    constexpr double kSigma = 1.0;
    std::lognormal_distribution<double> lengths(std::log(e.mean_length) - kSigma * kSigma / 2.0,
                                                kSigma);
    double worst = 0.0, head_tail = 0.0;
    for (int sample = 0; sample < 8; ++sample) {
      const std::vector<std::int32_t> positions =
          places(c.sequence_length, [&] { return static_cast<std::int64_t>(lengths(random)); });
      worst = std::max(worst, largest_over_mean(keys_of_ranks(
                                  c, block_starts(c, positions, c.sequence_length), 0, positions)));
      ContextBlocks chunks = c;
      chunks.block_length = c.sequence_length / 32;
      head_tail = std::max(
          head_tail, largest_over_mean(keys_of_ranks(chunks, block_starts(chunks), 0, positions)));
    }
    CAPTURE(e.mean_length);
    CHECK(worst < e.worst);
    CHECK(head_tail > 2.0);
  }
}

TEST_CASE("each sequence of a batch is dealt by its own documents") {
  const std::int64_t length = 64;
  const ContextBlocks c{
      .num_ranks = 2, .num_sequences = 3, .sequence_length = length, .block_length = 8};
  std::mt19937 random(2);
  std::vector<std::int32_t> rows;
  for (int b = 0; b < 3; ++b) {
    const auto more = places(length + 1, [&] { return random() % 30; });
    rows.insert(rows.end(), more.begin(), more.end());
  }
  const std::vector<std::int32_t> together = block_starts(c, rows, length + 1);
  ContextBlocks one = c;
  one.num_sequences = 1;
  for (std::int64_t b = 0; b < 3; ++b) {
    const auto alone = block_starts(
        one, std::span(rows).subspan(static_cast<std::size_t>(b * (length + 1))), length + 1);
    for (std::int64_t rank = 0; rank < 2; ++rank)
      for (std::int64_t j = 0; j < 4; ++j)
        CHECK(together[static_cast<std::size_t>((rank * 3 + b) * 4 + j)] ==
              alone[static_cast<std::size_t>(rank * 4 + j)]);
  }
}

TEST_CASE("blocks of equal shares go to and fro, the later ones first") {
  // Documents of a block each: all blocks have the same share.
  const ContextBlocks c{
      .num_ranks = 3, .num_sequences = 1, .sequence_length = 48, .block_length = 8};
  const auto starts = block_starts(c, places(49, [] { return 8; }), 49);
  CHECK(starts == std::vector<std::int32_t>{0, 40, 8, 32, 16, 24});
  // One document alone: as without documents.
  CHECK(block_starts(c, places(49, [] { return 49; }), 49) == block_starts(c));
}

TEST_CASE("as many tokens as ranks, or as many blocks, are one for each") {
  for (const std::int64_t block : {1, 128}) {
    const ContextBlocks c{
        .num_ranks = 8, .num_sequences = 1, .sequence_length = 8 * block, .block_length = block};
    check(c, block_starts(c));
    const ContextBlocks two{
        .num_ranks = 8, .num_sequences = 2, .sequence_length = 8 * block, .block_length = block};
    check(two, block_starts(two));
  }
}

TEST_CASE("blocks have 128 tokens where sequences are long enough, and divide any that fit") {
  const auto length = [](std::int64_t sequence, std::int64_t ranks) {
    return context_block_length(sequence, ranks);
  };
  CHECK(length(131072, 16) == 128);
  CHECK(length(256, 2) == 128);  // one for each rank
  CHECK(length(384 * 3, 3) == 128);
  CHECK(length(128, 2) == 32);  // two for each: head and tail
  CHECK(length(24, 2) == 2);
  CHECK(length(24, 4) == 1);
  CHECK(length(17 * 3, 3) == 1);
  CHECK(length(4, 4) == 1);
  CHECK(length(129, 2) == 0);
  CHECK(length(2, 4) == 0);
  CHECK(length(16, 0) == 0);
  for (std::int64_t sequence = 1; sequence <= 600; ++sequence)
    for (std::int64_t ranks = 1; ranks <= 12; ++ranks) {
      const std::int64_t block = length(sequence, ranks);
      CAPTURE(sequence, ranks, block);
      REQUIRE((block == 0) == (sequence % ranks != 0));
      if (block == 0) continue;
      REQUIRE(sequence % (ranks * block) == 0);
      REQUIRE(block <= 128);
      // An even number for each rank where there are not 128 tokens in one.
      const std::int64_t per_rank = sequence / ranks / block;
      if (block > 1 && block < 128) REQUIRE(per_rank % 2 == 0);
    }
}

TEST_CASE("sequences that do not divide over the ranks are a mistake of the program") {
  const ContextBlocks c{
      .num_ranks = 2, .num_sequences = 1, .sequence_length = 12, .block_length = 4};
  CHECK_THROWS_AS(block_starts(c), espalier::Error);
}
