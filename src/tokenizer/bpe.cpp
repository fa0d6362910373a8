#include "tokenizer/bpe.hpp"

#include <algorithm>
#include <bit>

#include "base/error.hpp"

namespace espalier::tokenizer {
namespace {

// Up to here a scan over all pairs per merge is faster than a heap.
constexpr std::size_t kShortPiece = 48;

}  // namespace

MergeTable::MergeTable(std::size_t num_merges)
    : slots_(std::bit_ceil(2 * num_merges + 2), kEmpty),
      mask_(slots_.size() - 1),
      shift_(64 - std::countr_zero(slots_.size())) {}

void MergeTable::insert(std::uint32_t left, std::uint32_t right, std::uint32_t rank) {
  ESPALIER_ASSERT(left < kMaxIds && right < kMaxIds && rank < kMaxMerges, "merge {} of {} and {}",
                  rank, left, right);
  const std::uint64_t key = key_of(left, right);
  std::size_t i = slot_of(key);
  while (slots_[i] != kEmpty && (slots_[i] >> 24) != key) i = (i + 1) & mask_;
  slots_[i] = (key << 24) | rank;
}

Bpe::Bpe(const std::array<std::uint32_t, 256>& byte_ids, std::size_t num_merges)
    : byte_ids_(byte_ids), merges_(num_merges), byte_ranks_(256 * 256, kNoRank) {
  results_.reserve(num_merges);
  byte_of_.resize(*std::max_element(byte_ids.begin(), byte_ids.end()) + std::size_t{1}, 256);
  for (std::uint16_t byte = 0; byte < 256; ++byte) byte_of_[byte_ids[byte]] = byte;
}

Bpe::Bpe(std::size_t num_merges) : merges_(num_merges) {
  results_.reserve(num_merges);
}

void Bpe::add_merge(const Merge& merge, std::uint32_t rank) {
  merges_.insert(merge.left, merge.right, rank);
  results_.resize(rank + 1);
  results_[rank] = merge.result;
  const auto byte_of = [this](std::uint32_t id) {
    return id < byte_of_.size() ? std::size_t{byte_of_[id]} : 256;
  };
  const std::size_t left = byte_of(merge.left);
  if (left == 256) return;
  const std::size_t right = byte_of(merge.right);
  if (right < 256) byte_ranks_[256 * left + right] = rank;
}

void CandidateHeap::push(std::uint32_t rank, std::uint32_t position) {
  const std::uint64_t key = (std::uint64_t{rank} << 32) | position;
  std::size_t i = keys_.size();
  keys_.push_back(key);
  for (; i > 0 && key < keys_[(i - 1) / kWidth]; i = (i - 1) / kWidth)
    keys_[i] = keys_[(i - 1) / kWidth];
  keys_[i] = key;
}

CandidateHeap::Candidate CandidateHeap::pop() {
  const std::uint64_t top = keys_.front(), key = keys_.back();
  keys_.pop_back();
  const std::size_t size = keys_.size();
  std::size_t i = 0;
  for (std::size_t child = 1; child < size; child = kWidth * i + 1) {
    const std::size_t end = std::min(child + kWidth, size);
    for (std::size_t other = child + 1; other < end; ++other)
      child = keys_[other] < keys_[child] ? other : child;
    if (key <= keys_[child]) break;
    keys_[i] = keys_[child];
    i = child;
  }
  if (size > 0) keys_[i] = key;
  return {static_cast<std::uint32_t>(top >> 32), static_cast<std::uint32_t>(top)};
}

void Bpe::encode(std::string_view piece, std::vector<std::uint32_t>& ids, Scratch& scratch) const {
  if (piece.size() <= kShortPiece) return encode_short(piece, ids);
  encode_long(piece, ids, scratch);
}

/// Merges `count` symbols in place and returns how many are left; ranks[i] joins i and i + 1.
inline std::size_t Bpe::merge_short(std::uint32_t* symbols, std::uint32_t* ranks,
                                    std::size_t count) const {
  while (count > 1) {
    std::size_t best = 0;
    std::uint32_t lowest = ranks[0];
    for (std::size_t i = 1; i + 1 < count; ++i) {
      const bool is_lower = ranks[i] < lowest;
      best = is_lower ? i : best;
      lowest = is_lower ? ranks[i] : lowest;
    }
    if (lowest == kNoRank) break;
    symbols[best] = results_[lowest];
    --count;
    for (std::size_t i = best + 1; i < count; ++i) {
      symbols[i] = symbols[i + 1];
      ranks[i - 1] = ranks[i];
    }
    if (best > 0) ranks[best - 1] = merges_.rank_of(symbols[best - 1], symbols[best]);
    if (best + 1 < count) ranks[best] = merges_.rank_of(symbols[best], symbols[best + 1]);
  }
  return count;
}

void Bpe::encode_short(std::string_view piece, std::vector<std::uint32_t>& ids) const {
  std::array<std::uint32_t, kShortPiece> symbols;
  std::array<std::uint32_t, kShortPiece> ranks;
  const auto byte = [piece](std::size_t i) { return static_cast<unsigned char>(piece[i]); };
  for (std::size_t i = 0; i < piece.size(); ++i) symbols[i] = byte_ids_[byte(i)];
  for (std::size_t i = 0; i + 1 < piece.size(); ++i)
    ranks[i] = byte_ranks_[256 * std::size_t{byte(i)} + byte(i + 1)];
  const std::size_t count = merge_short(symbols.data(), ranks.data(), piece.size());
  ids.insert(ids.end(), symbols.begin(), symbols.begin() + static_cast<std::ptrdiff_t>(count));
}

void Bpe::encode_long(std::string_view piece, std::vector<std::uint32_t>& ids,
                      Scratch& scratch) const {
  ESPALIER_ASSERT(piece.size() < kNoRank, "a piece of {} bytes", piece.size());
  auto& symbols = scratch.symbols;
  const auto count = static_cast<std::uint32_t>(piece.size());
  symbols.resize(count);
  for (std::uint32_t i = 0; i < count; ++i)
    symbols[i].id = byte_ids_[static_cast<unsigned char>(piece[i])];
  merge_long(ids, scratch);
}

void Bpe::encode_symbols(std::vector<std::uint32_t>& symbols, std::vector<std::uint32_t>& ids,
                         Scratch& scratch) const {
  ESPALIER_ASSERT(symbols.size() < kNoRank, "a piece of {} symbols", symbols.size());
  if (symbols.size() > kShortPiece) {
    scratch.symbols.resize(symbols.size());
    for (std::size_t i = 0; i < symbols.size(); ++i) scratch.symbols[i].id = symbols[i];
    return merge_long(ids, scratch);
  }
  std::array<std::uint32_t, kShortPiece> ranks;
  for (std::size_t i = 0; i + 1 < symbols.size(); ++i)
    ranks[i] = merges_.rank_of(symbols[i], symbols[i + 1]);
  const std::size_t count = merge_short(symbols.data(), ranks.data(), symbols.size());
  ids.insert(ids.end(), symbols.begin(), symbols.begin() + static_cast<std::ptrdiff_t>(count));
}

/// Merges the ids of scratch.symbols.
void Bpe::merge_long(std::vector<std::uint32_t>& ids, Scratch& scratch) const {
  auto& symbols = scratch.symbols;
  auto& candidates = scratch.candidates;
  const auto count = static_cast<std::uint32_t>(symbols.size());
  candidates.clear();
  for (std::uint32_t i = 0; i < count; ++i) {
    symbols[i].previous = i == 0 ? kNoRank : i - 1;
    symbols[i].next = i + 1 == count ? kNoRank : i + 1;
    symbols[i].rank = kNoRank;
  }

  // A candidate in the heap is out of date when its symbol no longer has its rank. It never gets
  // that rank again, because the bytes of a pair only grow.
  const auto consider = [&](std::uint32_t position) {
    auto& symbol = symbols[position];
    symbol.rank =
        symbol.next == kNoRank ? kNoRank : merges_.rank_of(symbol.id, symbols[symbol.next].id);
    if (symbol.rank != kNoRank) candidates.push(symbol.rank, position);
  };
  for (std::uint32_t i = 0; i < count; ++i) consider(i);

  while (!candidates.empty()) {
    const auto [rank, position] = candidates.pop();
    auto& left = symbols[position];
    if (left.rank != rank) continue;
    auto& right = symbols[left.next];
    left.id = results_[rank];
    left.next = right.next;
    right.rank = kNoRank;
    if (left.next != kNoRank) symbols[left.next].previous = position;
    if (left.previous != kNoRank) consider(left.previous);
    consider(position);
  }
  for (std::uint32_t i = 0; i != kNoRank; i = symbols[i].next) ids.push_back(symbols[i].id);
}

}  // namespace espalier::tokenizer
