#pragma once
#include <array>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <span>

#include "io/corpus_counts.hpp"
#include "io/token_shard.hpp"

namespace espalier::tokenization {

/// The shards that this rank writes of one conversion, several ranks beside one another.
class TokenShardSet {
 public:
  /// `info`: everything about the tokenizer and the source. `output` has an UnfinishedFolder.
  /// Shards are Errors (io_error) of io::TokenShardWriter, and more than 100,000 of a split one of
  /// bad_configuration.
  TokenShardSet(const std::filesystem::path& output, io::ShardInfo info);

  /// Documents of a split must come in order; a new shard number finishes the shard before.
  void append(io::Split split, std::uint64_t shard, std::span<const std::uint32_t> tokens,
              std::uint64_t num_bytes);
  void finish();
  const io::SplitCounts& written(io::Split split) const {
    return written_[static_cast<std::size_t>(split)];
  }

 private:
  void finish(std::size_t split);
  std::filesystem::path folder_;
  io::ShardInfo info_;
  std::array<std::unique_ptr<io::TokenShardWriter>, io::kNumSplits> writers_;
  std::array<std::uint64_t, io::kNumSplits> shard_{};
  std::array<io::SplitCounts, io::kNumSplits> written_{};
};

}  // namespace espalier::tokenization
