#pragma once
#include <cstdint>
#include <span>
#include <string>
#include <vector>

namespace espalier::data {

/// One shard as it lies in memory.
struct ShardView {
  std::span<const std::uint32_t> tokens;
  /// Where documents begin, ascending, the first at 0; empty: the shard is one document.
  std::span<const std::uint64_t> documents = {};
  std::string name = {};  ///< in messages
};

/// The tokens of a data set: its shards end to end, as memory maps. A document is its text and the
/// separator behind it; none goes on from one shard to the next.
class TokenStream {
 public:
  explicit TokenStream(std::vector<ShardView> shards);
  std::uint64_t size() const { return size_; }  ///< tokens
  /// Samples of `sequence_length`: sample i is tokens i*S .. i*S+S (the last only a target).
  std::uint64_t num_samples(std::int64_t sequence_length) const;
  /// Copies tokens [first, first + out.size()), across shard ends where need be. The range must
  /// lie inside the stream.
  void copy(std::uint64_t first, std::span<std::uint32_t> out) const;
  /// The first token past `token` that begins a document; size() when there is none. O(log). Throws
  /// Error (bad_data) where a shard that was not verified has a start past its end.
  std::uint64_t next_document(std::uint64_t token) const;
  /// How many documents begin in the tokens (first, last]. O(log).
  std::uint64_t documents_between(std::uint64_t first, std::uint64_t last) const;

 private:
  /// The shard that holds `token`: never an empty one, because the next one begins there too.
  std::size_t shard_of(std::uint64_t token) const;
  /// Documents that begin at or before `token`.
  std::uint64_t documents_until(std::uint64_t token) const;

  std::vector<ShardView> shards_;
  std::vector<std::uint64_t> begins_;            ///< first token of each shard, then size()
  std::vector<std::uint64_t> documents_before_;  ///< in earlier shards
  std::uint64_t size_ = 0;
};

}  // namespace espalier::data
