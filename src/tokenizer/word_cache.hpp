#pragma once
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <span>
#include <string_view>
#include <vector>

namespace espalier::tokenizer {

/// Remembers the ids of pieces. Text repeats its words, and a look-up costs a tenth of the merges.
/// A table of buckets of one cache line, two 32-byte entries each: a new piece takes the place of
/// the older one, so memory is bounded. Pieces up to 15 bytes lie in the entry itself; longer
/// pieces, and more than three ids, lie in a pool that is emptied, with the table, when it is full.
class WordCache {
 public:
  WordCache();

  /// Longer pieces repeat too seldom.
  static constexpr std::size_t kLongestPiece = 64;
  static constexpr std::size_t kInlineIds = 3;

  struct Key {
    std::uint64_t low, high;  ///< up to 15 bytes and their number; or hash and 0xFF.. above
    std::size_t bucket;
  };
  /// `readable_end`: bytes up to there may be read (not used), which makes short keys cheap.
  static Key key_of(std::string_view piece, const char* readable_end);
  /// Fetches the key's bucket while other pieces are looked up.
  void prefetch(const Key& key) const { __builtin_prefetch(&buckets_[key.bucket]); }

  /// The ids of a piece, valid until the next insert; an empty span when it is not known. Memory
  /// holds at least kInlineIds values where the span begins.
  std::span<const std::uint32_t> find(const Key& key, std::string_view piece) const {
    for (const Entry& entry : buckets_[key.bucket].entries) {
      if (entry.low != key.low || entry.high != key.high) continue;
      if (piece.size() <= kInlineBytes && entry.count <= kInlineIds)
        return {entry.ids, entry.count};
      if (piece.size() > kInlineBytes && !same_piece(entry, piece)) continue;
      return pooled_ids(entry, piece.size());
    }
    return {};
  }
  void insert(const Key& key, std::string_view piece, std::span<const std::uint32_t> ids);

 private:
  static constexpr int kBucketBits = 18;
  static constexpr std::size_t kNumBuckets = std::size_t{1} << kBucketBits;  // 16 MiB
  static constexpr std::size_t kPoolWords = std::size_t{1} << 21;            // 8 MiB
  static constexpr std::size_t kInlineBytes = 15;

  struct Entry {
    std::uint64_t low, high;        // no piece has length 0: an entry of zeros matches nothing
    std::uint32_t ids[kInlineIds];  // ids[0]: place in the pool
    std::uint32_t count;
  };
  struct alignas(64) Bucket {
    Entry entries[2];  // the newer one first
  };
  static_assert(sizeof(Bucket) == 64);

  bool same_piece(const Entry& entry, std::string_view piece) const {
    return entry.ids[1] == piece.size() &&
           std::memcmp(pool_.data() + entry.ids[0], piece.data(), piece.size()) == 0;
  }
  std::span<const std::uint32_t> pooled_ids(const Entry& entry, std::size_t num_bytes) const {
    const std::size_t skip = num_bytes > kInlineBytes ? (num_bytes + 3) / 4 : 0;
    return {pool_.data() + entry.ids[0] + skip, entry.count};
  }

  // Zero pages of the system: what is never asked for costs nothing.
  std::unique_ptr<void, decltype(&std::free)> memory_;
  Bucket* buckets_;
  std::vector<std::uint32_t> pool_;
};

inline WordCache::Key WordCache::key_of(std::string_view piece, const char* readable_end) {
  std::uint64_t low = 0, high = 0;
  const std::size_t size = piece.size();
  if (size <= kInlineBytes) {
    if (readable_end - piece.data() >= 16) {
      std::memcpy(&low, piece.data(), 8);
      std::memcpy(&high, piece.data() + 8, 8);
      // Without a branch: of short or long, text is an even mix.
      const std::uint64_t all = ~std::uint64_t{0};
      const std::uint64_t bits = 8 * size;
      low &= size >= 8 ? all : ~(all << (bits & 63));
      high &= size > 8 ? ~(all << (bits & 63)) : 0;
    } else {
      std::memcpy(&low, piece.data(), size < 8 ? size : 8);
      if (size > 8) std::memcpy(&high, piece.data() + 8, size - 8);
    }
    high |= std::uint64_t{size} << 56;
  } else {
    low = 0x243F6A8885A308D3u;
    for (std::size_t i = 0; i < size; i += 8) {
      std::uint64_t word = 0;
      std::memcpy(&word, piece.data() + i, size - i < 8 ? size - i : 8);
      low = (low ^ word) * 0x9E3779B97F4A7C15u;
      low ^= low >> 29;
    }
    high = ~std::uint64_t{size};
  }
  const std::uint64_t mixed =
      (low ^ (high * 0xC2B2AE3D27D4EB4Fu) ^ (high >> 31)) * 0x9E3779B97F4A7C15u;
  return {low, high, static_cast<std::size_t>(mixed >> (64 - kBucketBits))};
}

}  // namespace espalier::tokenizer
