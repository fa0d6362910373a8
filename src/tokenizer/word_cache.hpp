#pragma once
#include <cstdint>
#include <cstring>
#include <span>
#include <string_view>
#include <vector>

namespace espalier::tokenizer {

/// Remembers the ids of pieces. Text repeats its words, and a look-up costs a tenth of the merges.
/// A direct-mapped table of 32-byte entries: a new piece takes the place of an old one, so memory
/// is bounded. Pieces up to 15 bytes lie in the entry itself; longer pieces, and more than three
/// ids, lie in a pool that is emptied, with the table, when it is full.
class WordCache {
 public:
  WordCache();

  /// Longer pieces repeat too seldom.
  static constexpr std::size_t kLongestPiece = 64;

  struct Key {
    std::uint64_t low, high;  ///< up to 15 bytes and their number; or hash and 0xFF.. above
    std::size_t slot;
  };
  /// `readable_end`: bytes up to there may be read (not used), which makes short keys cheap.
  static Key key_of(std::string_view piece, const char* readable_end);

  /// The ids of a piece, valid until the next insert; an empty span when it is not known.
  std::span<const std::uint32_t> find(const Key& key, std::string_view piece) const {
    const Entry& entry = entries_[key.slot];
    if (entry.low != key.low || entry.high != key.high) return {};
    if (piece.size() > kInlineBytes && !same_piece(entry, piece)) return {};
    if (entry.count <= kInlineIds && piece.size() <= kInlineBytes) return {entry.ids, entry.count};
    return pooled_ids(entry, piece.size());
  }
  void insert(const Key& key, std::string_view piece, std::span<const std::uint32_t> ids);

 private:
  static constexpr std::size_t kNumEntries = std::size_t{1} << 16;  // 2 MiB
  static constexpr std::size_t kPoolWords = std::size_t{1} << 20;   // 4 MiB
  static constexpr std::size_t kInlineBytes = 15;
  static constexpr std::size_t kInlineIds = 3;

  struct Entry {
    std::uint64_t low = 0, high = 0;     // no piece has length 0: an unused entry matches nothing
    std::uint32_t ids[kInlineIds] = {};  // ids[0]: place in the pool
    std::uint32_t count = 0;
  };
  static_assert(sizeof(Entry) == 32);

  bool same_piece(const Entry& entry, std::string_view piece) const {
    return entry.ids[1] == piece.size() &&
           std::memcmp(pool_.data() + entry.ids[0], piece.data(), piece.size()) == 0;
  }
  std::span<const std::uint32_t> pooled_ids(const Entry& entry, std::size_t num_bytes) const {
    const std::size_t skip = num_bytes > kInlineBytes ? (num_bytes + 3) / 4 : 0;
    return {pool_.data() + entry.ids[0] + skip, entry.count};
  }

  std::vector<Entry> entries_;
  std::vector<std::uint32_t> pool_;
};

inline WordCache::Key WordCache::key_of(std::string_view piece, const char* readable_end) {
  std::uint64_t low = 0, high = 0;
  const std::size_t size = piece.size();
  if (size <= kInlineBytes) {
    if (readable_end - piece.data() >= 16) {
      std::memcpy(&low, piece.data(), 8);
      std::memcpy(&high, piece.data() + 8, 8);
      if (size < 8) {
        low &= (std::uint64_t{1} << (8 * size)) - 1;
        high = 0;
      } else {
        high &= (std::uint64_t{1} << (8 * (size - 8))) - 1;
      }
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
  return {low, high, static_cast<std::size_t>(mixed >> 48)};
}

}  // namespace espalier::tokenizer
