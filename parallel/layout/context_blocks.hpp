#pragma once
#include <cstdint>
#include <span>
#include <vector>

// Pure arithmetic: which tokens of a sequence each rank of a context group has. No MPI, no memory
// but the lists.

namespace espalier::parallel {

/// How the ranks of a context group share the sequences of a micro-batch: blocks of consecutive
/// tokens, as many on every rank.
struct ContextBlocks {
  std::int64_t num_ranks;
  std::int64_t num_sequences;    ///< B
  std::int64_t sequence_length;  ///< S, a multiple of num_ranks * block_length
  std::int64_t block_length;     ///< tokens

  std::int64_t local_length() const { return sequence_length / num_ranks; }  ///< S_loc
  std::int64_t blocks_per_rank() const { return local_length() / block_length; }
  std::int64_t tokens() const { return num_sequences * sequence_length; }
};

/// Tokens of a block for sequences of S over `num_ranks` ranks: 128, which tiles of queries of
/// every GPU divide, where every rank can have an even number of these or at least some; less in
/// sequences that are short. 0 where S is no multiple of num_ranks.
std::int64_t context_block_length(std::int64_t sequence_length, std::int64_t num_ranks);

/// (num_ranks, B, blocks_per_rank): the first token of each block of a rank, ascending. The blocks
/// of a sequence go to the ranks by their share of attention, the largest first, to and fro, so
/// that every rank has about the same: without documents rank r has the blocks r and 2n - 1 - r of
/// 2n, as in Llama 3 (arXiv:2407.21783, section 3.3.2); with documents that hide earlier ones, it
/// is their lengths that count.
///
/// `document_positions`: rows of `row_length` >= S values, a token's place in its document; or
/// empty: attention over whole sequences.
std::vector<std::int32_t> block_starts(const ContextBlocks& blocks,
                                       std::span<const std::int32_t> document_positions = {},
                                       std::int64_t row_length = 0);

/// The tokens of all ranks, rank by rank as block_starts has them, beside those of the whole
/// sequences: (B * S) each, and each the inverse of the other.
struct ContextOrder {
  std::vector<std::int32_t> row_of_token;  ///< of a token of the sequences: its place by ranks
  std::vector<std::int32_t> token_of_row;
};
ContextOrder context_order(const ContextBlocks& blocks, std::span<const std::int32_t> block_starts);

}  // namespace espalier::parallel
