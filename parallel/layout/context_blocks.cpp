#include "parallel/layout/context_blocks.hpp"

#include <algorithm>
#include <numeric>

#include "base/error.hpp"
#include "base/integers.hpp"

namespace espalier::parallel {
namespace {

/// The keys that the tokens of each block attend to, all together.
std::vector<std::int64_t> attended_keys(const ContextBlocks& c,
                                        std::span<const std::int32_t> document_positions) {
  const std::int64_t num_blocks = c.sequence_length / c.block_length;
  std::vector<std::int64_t> keys(static_cast<std::size_t>(num_blocks));
  for (std::int64_t token = 0; token < num_blocks * c.block_length; ++token)
    keys[static_cast<std::size_t>(token / c.block_length)] +=
        1 +
        (document_positions.empty() ? token : document_positions[static_cast<std::size_t>(token)]);
  return keys;
}

}  // namespace

std::int64_t context_block_length(std::int64_t sequence_length, std::int64_t num_ranks) {
  constexpr std::int64_t kLongest = 128;
  if (num_ranks <= 0 || sequence_length % num_ranks != 0) return 0;
  const std::int64_t local = sequence_length / num_ranks;
  if (local % kLongest == 0) return kLongest;
  std::int64_t length = kLongest / 2;
  while (length > 1 && local % (2 * length) != 0) length /= 2;
  return length;
}

std::vector<std::int32_t> block_starts(const ContextBlocks& c,
                                       std::span<const std::int32_t> document_positions,
                                       std::int64_t row_length) {
  ESPALIER_ASSERT(c.block_length > 0 && c.sequence_length % (c.num_ranks * c.block_length) == 0,
                  "sequences of {} over {} ranks in blocks of {}", c.sequence_length, c.num_ranks,
                  c.block_length);
  const std::int64_t num_blocks = c.sequence_length / c.block_length;
  const std::int64_t per_rank = c.blocks_per_rank();
  std::vector<std::int32_t> starts(static_cast<std::size_t>(c.num_sequences * num_blocks));
  std::vector<std::int32_t> order(static_cast<std::size_t>(num_blocks));
  std::vector<std::int64_t> keys;
  for (std::int64_t b = 0; b < c.num_sequences; ++b) {
    if (b == 0 || !document_positions.empty())
      keys = attended_keys(
          c, document_positions.empty()
                 ? document_positions
                 : document_positions.subspan(static_cast<std::size_t>(b * row_length),
                                              static_cast<std::size_t>(c.sequence_length)));
    std::iota(order.begin(), order.end(), 0);
    // Of equal ones the later first: one order for all ranks.
    std::sort(order.begin(), order.end(), [&](std::int32_t x, std::int32_t y) {
      const auto of_x = keys[static_cast<std::size_t>(x)], of_y = keys[static_cast<std::size_t>(y)];
      return of_x != of_y ? of_x > of_y : x > y;
    });
    for (std::int64_t i = 0; i < num_blocks; ++i) {
      const std::int64_t turn = i / c.num_ranks, place = i % c.num_ranks;
      const std::int64_t rank = turn % 2 == 0 ? place : c.num_ranks - 1 - place;
      starts[static_cast<std::size_t>((rank * c.num_sequences + b) * per_rank + turn)] =
          narrow<std::int32_t>(order[static_cast<std::size_t>(i)] * c.block_length);
    }
  }
  for (auto first = starts.begin(); first != starts.end(); first += per_rank)
    std::sort(first, first + per_rank);
  return starts;
}

ContextOrder context_order(const ContextBlocks& c, std::span<const std::int32_t> block_starts) {
  ContextOrder order{
      .row_of_token = std::vector<std::int32_t>(static_cast<std::size_t>(c.tokens())),
      .token_of_row = std::vector<std::int32_t>(static_cast<std::size_t>(c.tokens()))};
  std::int32_t row = 0;
  std::int64_t sequence = 0, blocks_of_sequence = 0;
  for (const std::int32_t start : block_starts) {
    for (std::int64_t i = 0; i < c.block_length; ++i, ++row) {
      const auto token = narrow<std::int32_t>(sequence * c.sequence_length + start + i);
      order.token_of_row[static_cast<std::size_t>(row)] = token;
      order.row_of_token[static_cast<std::size_t>(token)] = row;
    }
    if (++blocks_of_sequence < c.blocks_per_rank()) continue;
    blocks_of_sequence = 0;
    sequence = (sequence + 1) % c.num_sequences;
  }
  return order;
}

}  // namespace espalier::parallel
