#pragma once
#include <cstdint>
#include <filesystem>
#include <memory>
#include <span>
#include <string>
#include <vector>

namespace espalier::io {

inline constexpr const char* kTokenShardFormat = "espalier token shard";
inline constexpr std::uint64_t kTokenShardVersion = 1;

/// What a token shard says of itself (HDF5 attributes of the root group).
///
/// Layout of the file: dataset `tokens` (n) u32, contiguous; dataset `documents` (m) u64, the first
/// token of each document; attributes format ("espalier token shard"), format_version, tokenizer
/// (identity), tokenizer_file, vocabulary (ids are < this), end_of_text, source, split, num_bytes
/// (of text), num_tokens, num_documents, checksum (XXH3 of tokens, 16 hex digits) and
/// documents_checksum (the same of documents; shards of November 2026 and before have none).
struct ShardInfo {
  std::string tokenizer_identity;
  std::string tokenizer_file;
  std::uint32_t vocabulary = 0;
  std::uint32_t end_of_text = 0;
  std::string source;
  std::string split;  ///< "train" | "validation"
  std::uint64_t num_bytes = 0;
  std::uint64_t num_tokens = 0;
  std::uint64_t num_documents = 0;
  std::string checksum;
};

/// A shard opened for reading: the header through HDF5, the tokens by memory map.
class TokenShard {
 public:
  /// Throws Error (bad_data) for a file that is missing, truncated or no shard; with `verify` also
  /// when the checksum or the largest id disagree with the header.
  static TokenShard open(const std::filesystem::path& path, bool verify);
  TokenShard(TokenShard&&) noexcept;
  ~TokenShard();
  const ShardInfo& info() const;
  std::span<const std::uint32_t> tokens() const;
  std::span<const std::uint64_t> documents() const;
  const std::filesystem::path& path() const;

  /// For the other ranks of a job, which then read no header and only map the file. `told` throws
  /// Error (bad_data) when the file is not of the same size for them.
  std::string outline() const;
  static TokenShard told(const std::string& outline);

 private:
  struct Implementation;
  explicit TokenShard(std::unique_ptr<Implementation> implementation);
  std::unique_ptr<Implementation> implementation_;
};

/// Collects documents in memory-bounded fashion and writes one shard: under a temporary name,
/// flushed to the disk and renamed when complete. Counts and checksum of `info` are filled in.
class TokenShardWriter {
 public:
  /// Throws Error (io_error) when the shard exists already or its folder cannot be written.
  TokenShardWriter(const std::filesystem::path& path, ShardInfo info);
  ~TokenShardWriter();  ///< removes an unfinished file
  /// Appends one document: its tokens with the separator at the end, and its bytes of text.
  void append(std::span<const std::uint32_t> tokens, std::uint64_t num_bytes);
  std::uint64_t num_tokens() const;
  void finish();  ///< throws Error (io_error) when the disk is full

 private:
  struct Implementation;
  std::unique_ptr<Implementation> implementation_;
};

/// The shards that a file or folder names: the file, or the folder's `<split>-*.h5` sorted by name.
/// Throws Error (bad_data) when there is none or when they are not of one tokenizer. `named_by`:
/// the key that named them, for messages; empty: data.<split>.
std::vector<TokenShard> open_shards(const std::string& where, const std::string& split, bool verify,
                                    const std::string& named_by = {});

}  // namespace espalier::io
