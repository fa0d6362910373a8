#pragma once
#include <array>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <span>

#include "io/file_lock.hpp"
#include "io/token_shard.hpp"

namespace espalier::commands {

enum class TokenSplit : std::uint8_t { train, validation };
constexpr std::size_t kNumTokenSplits = 2;
constexpr const char* kTokenSplitNames[kNumTokenSplits] = {"train", "validation"};

/// What this rank has written.
struct WrittenTokens {
  std::uint64_t num_documents = 0;
  std::uint64_t num_bytes = 0;
  std::uint64_t num_tokens = 0;
  std::uint64_t num_shards = 0;
};

/// The place of the shards of one run, on one rank. They are collected in the folder
/// <output>.unfinished beside the output, which takes the output's name when all ranks are done: a
/// run that was cut short, at whatever moment, leaves no half data set that a training could take
/// for a whole one.
class ShardFolder {
 public:
  /// Takes a lock beside the folder before it looks at anything; makes <output>.unfinished and
  /// removes the shards that a killed run left there. Throws Error (io_error) when another job has
  /// the lock, Error (bad_configuration) when the output holds anything, or that folder anything
  /// that is no shard.
  explicit ShardFolder(const std::filesystem::path& output);
  /// Without publish(): removes the unfinished shards.
  ~ShardFolder();
  ShardFolder(const ShardFolder&) = delete;
  ShardFolder& operator=(const ShardFolder&) = delete;
  /// After every rank's TokenShardSet::finish: gives the folder its name.
  void publish();

 private:
  std::filesystem::path output_, unfinished_;
  io::FileLock lock_;
  bool discards_ = false;
};

/// The shards that this rank writes.
class TokenShardSet {
 public:
  /// `info`: everything about the tokenizer and the source. There is a ShardFolder for `output`.
  TokenShardSet(const std::filesystem::path& output, io::ShardInfo info);

  /// Documents of a split must come in order; a new shard number finishes the shard before.
  void append(TokenSplit split, std::uint64_t shard, std::span<const std::uint32_t> tokens,
              std::uint64_t num_bytes);
  void finish();
  const WrittenTokens& written(TokenSplit split) const {
    return written_[static_cast<std::size_t>(split)];
  }

 private:
  void finish(std::size_t split);
  std::filesystem::path folder_;
  io::ShardInfo info_;
  std::array<std::unique_ptr<io::TokenShardWriter>, kNumTokenSplits> writers_;
  std::array<std::uint64_t, kNumTokenSplits> shard_{};
  std::array<WrittenTokens, kNumTokenSplits> written_{};
};

}  // namespace espalier::commands
