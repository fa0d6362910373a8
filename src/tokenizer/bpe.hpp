#pragma once
#include <array>
#include <cstdint>
#include <string_view>
#include <vector>

namespace espalier::tokenizer {

inline constexpr std::uint32_t kNoRank = 0xFFFFFFFFu;

/// Two neighbouring tokens that become one; the lower the rank, the earlier.
struct Merge {
  std::uint32_t left, right, result;
};

/// (left, right) -> (rank, result): open addressing, at most half full.
class MergeTable {
 public:
  struct Found {
    std::uint32_t rank = kNoRank;  ///< kNoRank: the pair does not merge
    std::uint32_t result = 0;
  };
  explicit MergeTable(std::size_t num_merges);
  /// A pair that is there already takes the new rank and result, as in Hugging Face's map.
  void insert(const Merge& merge, std::uint32_t rank);
  Found find(std::uint32_t left, std::uint32_t right) const {
    const std::uint64_t key = key_of(left, right);
    for (std::size_t i = slot_of(key);; i = (i + 1) & mask_) {
      const Slot& slot = slots_[i];
      if (slot.key == key) return {slot.rank, slot.result};
      if (slot.rank == kNoRank) return {};
    }
  }

 private:
  struct Slot {
    std::uint64_t key = 0;
    std::uint32_t rank = kNoRank;
    std::uint32_t result = 0;
  };
  static std::uint64_t key_of(std::uint32_t left, std::uint32_t right) {
    return (std::uint64_t{left} << 32) | right;
  }
  std::size_t slot_of(std::uint64_t key) const {
    return static_cast<std::size_t>((key * 0x9E3779B97F4A7C15u) >> shift_);
  }
  std::vector<Slot> slots_;
  std::size_t mask_;
  int shift_;
};

/// Byte-pair encoding of one piece: the pair of lowest rank is merged, the leftmost of equals
/// first, until no pair merges.
class Bpe {
 public:
  Bpe(const std::array<std::uint32_t, 256>& byte_ids, std::size_t num_merges);
  void add_merge(const Merge& merge, std::uint32_t rank) { merges_.insert(merge, rank); }
  std::uint32_t byte_id(unsigned char byte) const { return byte_ids_[byte]; }

  /// Working memory of one thread.
  struct Scratch {
    struct Symbol {
      std::uint32_t id;
      std::uint32_t previous, next;  // positions; kNoRank: none
    };
    struct Candidate {
      std::uint32_t rank, position, result;
    };
    std::vector<Symbol> symbols;
    std::vector<Candidate> heap;
  };
  /// Appends the ids of `piece`. Time is O(n log n) in its bytes; fewer than 2^32 - 1 bytes.
  void encode(std::string_view piece, std::vector<std::uint32_t>& ids, Scratch& scratch) const;

 private:
  void encode_short(std::string_view piece, std::vector<std::uint32_t>& ids) const;
  void encode_long(std::string_view piece, std::vector<std::uint32_t>& ids, Scratch& scratch) const;
  std::array<std::uint32_t, 256> byte_ids_;
  MergeTable merges_;
};

}  // namespace espalier::tokenizer
