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

/// Ids and ranks are below these, so that a merge fits 64 bits. No vocabulary is near them (the
/// largest in use have 262,144 ids).
// One less than 20 bits hold: the pair of the largest two would look like an empty slot.
inline constexpr std::uint32_t kMaxIds = (1u << 20) - 1;
inline constexpr std::uint32_t kMaxMerges = (1u << 24) - 1;

/// (left, right) -> rank: open addressing, at most half full, 8 bytes a slot, because most of the
/// time of a merge is spent waiting for this table.
class MergeTable {
 public:
  explicit MergeTable(std::size_t num_merges);
  /// A pair that is there already takes the new rank, as in Hugging Face's map.
  void insert(std::uint32_t left, std::uint32_t right, std::uint32_t rank);
  /// kNoRank: the pair does not merge.
  std::uint32_t rank_of(std::uint32_t left, std::uint32_t right) const {
    const std::uint64_t key = key_of(left, right);
    for (std::size_t i = slot_of(key);; i = (i + 1) & mask_) {
      const std::uint64_t slot = slots_[i];
      if ((slot >> 24) == key) return static_cast<std::uint32_t>(slot & kMaxMerges);
      if (slot == kEmpty) return kNoRank;
    }
  }

 private:
  static constexpr std::uint64_t kEmpty = ~std::uint64_t{0};
  static std::uint64_t key_of(std::uint32_t left, std::uint32_t right) {
    return (std::uint64_t{left} << 20) | right;
  }
  std::size_t slot_of(std::uint64_t key) const {
    return static_cast<std::size_t>((key * 0x9E3779B97F4A7C15u) >> shift_);
  }
  std::vector<std::uint64_t> slots_;  // key << 24 | rank
  std::size_t mask_;
  int shift_;
};

/// Pairs that could merge, the lowest rank first and the leftmost of equals. A megabyte without a
/// space fills it with as many pairs, so that its time is that of the memory: four children to a
/// node make half the levels of a binary heap.
class CandidateHeap {
 public:
  struct Candidate {
    std::uint32_t rank, position;
  };
  bool empty() const { return keys_.empty(); }
  void clear() { keys_.clear(); }
  void push(std::uint32_t rank, std::uint32_t position);
  Candidate pop();

 private:
  static constexpr std::size_t kWidth = 4;
  std::vector<std::uint64_t> keys_;  // rank << 32 | position
};

/// Byte-pair encoding of one piece: the pair of lowest rank is merged, the leftmost of equals
/// first, until no pair merges.
class Bpe {
 public:
  Bpe(const std::array<std::uint32_t, 256>& byte_ids, std::size_t num_merges);
  /// For symbols that are not bytes: only encode_symbols may be called.
  explicit Bpe(std::size_t num_merges);
  /// Ranks must be given in rising order, from 0 to num_merges - 1; some may be left out.
  void add_merge(const Merge& merge, std::uint32_t rank);
  std::uint32_t byte_id(unsigned char byte) const { return byte_ids_[byte]; }

  /// Working memory of one thread.
  struct Scratch {
    struct Symbol {
      std::uint32_t id;
      std::uint32_t previous, next;  // positions; kNoRank: none
      std::uint32_t rank;            // of the merge with the next symbol; kNoRank: none
    };
    std::vector<Symbol> symbols;
    CandidateHeap candidates;
  };
  /// Appends the ids of `piece`. Time is O(n log n) in its bytes; fewer than 2^32 - 1 bytes.
  void encode(std::string_view piece, std::vector<std::uint32_t>& ids, Scratch& scratch) const;

  /// The same for a piece that is given as ids of its symbols, which it overwrites.
  void encode_symbols(std::vector<std::uint32_t>& symbols, std::vector<std::uint32_t>& ids,
                      Scratch& scratch) const;

 private:
  std::size_t merge_short(std::uint32_t* symbols, std::uint32_t* ranks, std::size_t count) const;
  void merge_long(std::vector<std::uint32_t>& ids, Scratch& scratch) const;
  void encode_short(std::string_view piece, std::vector<std::uint32_t>& ids) const;
  void encode_long(std::string_view piece, std::vector<std::uint32_t>& ids, Scratch& scratch) const;
  std::array<std::uint32_t, 256> byte_ids_;
  MergeTable merges_;
  std::vector<std::uint16_t> byte_of_;     // by id; 256: none
  std::vector<std::uint32_t> results_;     // by rank
  std::vector<std::uint32_t> byte_ranks_;  // (256, 256) of two bytes: the ranks asked for most
};

}  // namespace espalier::tokenizer
