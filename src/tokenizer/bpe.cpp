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
    : slots_(std::bit_ceil(2 * num_merges + 2)),
      mask_(slots_.size() - 1),
      shift_(64 - std::countr_zero(slots_.size())) {}

void MergeTable::insert(const Merge& merge, std::uint32_t rank) {
  const std::uint64_t key = key_of(merge.left, merge.right);
  std::size_t i = slot_of(key);
  while (slots_[i].rank != kNoRank && slots_[i].key != key) i = (i + 1) & mask_;
  slots_[i] = {key, rank, merge.result};
}

Bpe::Bpe(const std::array<std::uint32_t, 256>& byte_ids, std::size_t num_merges)
    : byte_ids_(byte_ids), merges_(num_merges) {}

void Bpe::encode(std::string_view piece, std::vector<std::uint32_t>& ids, Scratch& scratch) const {
  if (piece.size() <= kShortPiece) return encode_short(piece, ids);
  encode_long(piece, ids, scratch);
}

void Bpe::encode_short(std::string_view piece, std::vector<std::uint32_t>& ids) const {
  std::array<std::uint32_t, kShortPiece> symbols;
  std::array<MergeTable::Found, kShortPiece> pairs;  // pairs[i] joins symbols i and i + 1
  std::size_t count = piece.size();
  for (std::size_t i = 0; i < count; ++i)
    symbols[i] = byte_ids_[static_cast<unsigned char>(piece[i])];
  for (std::size_t i = 0; i + 1 < count; ++i) pairs[i] = merges_.find(symbols[i], symbols[i + 1]);

  while (count > 1) {
    std::size_t best = 0;
    for (std::size_t i = 1; i + 1 < count; ++i)
      if (pairs[i].rank < pairs[best].rank) best = i;
    if (pairs[best].rank == kNoRank) break;
    symbols[best] = pairs[best].result;
    --count;
    for (std::size_t i = best + 1; i < count; ++i) symbols[i] = symbols[i + 1];
    for (std::size_t i = best + 1; i + 1 < count; ++i) pairs[i] = pairs[i + 1];
    if (best > 0) pairs[best - 1] = merges_.find(symbols[best - 1], symbols[best]);
    if (best + 1 < count) pairs[best] = merges_.find(symbols[best], symbols[best + 1]);
  }
  ids.insert(ids.end(), symbols.begin(), symbols.begin() + static_cast<std::ptrdiff_t>(count));
}

void Bpe::encode_long(std::string_view piece, std::vector<std::uint32_t>& ids,
                      Scratch& scratch) const {
  ESPALIER_ASSERT(piece.size() < kNoRank, "a piece of {} bytes", piece.size());
  auto& symbols = scratch.symbols;
  auto& heap = scratch.heap;
  const auto count = static_cast<std::uint32_t>(piece.size());
  symbols.resize(count);
  heap.clear();
  for (std::uint32_t i = 0; i < count; ++i)
    symbols[i] = {byte_ids_[static_cast<unsigned char>(piece[i])], i == 0 ? kNoRank : i - 1,
                  i + 1 == count ? kNoRank : i + 1};

  const auto later = [](const Scratch::Candidate& a, const Scratch::Candidate& b) {
    return a.rank != b.rank ? a.rank > b.rank : a.position > b.position;
  };
  const auto candidate_at = [&](std::uint32_t position) -> Scratch::Candidate {
    const std::uint32_t next = symbols[position].next;
    if (next == kNoRank) return {kNoRank, position, 0};
    const auto found = merges_.find(symbols[position].id, symbols[next].id);
    return {found.rank, position, found.result};
  };
  const auto push = [&](std::uint32_t position) {
    const auto candidate = candidate_at(position);
    if (candidate.rank == kNoRank) return;
    heap.push_back(candidate);
    std::push_heap(heap.begin(), heap.end(), later);
  };
  for (std::uint32_t i = 0; i + 1 < count; ++i) {
    const auto candidate = candidate_at(i);
    if (candidate.rank != kNoRank) heap.push_back(candidate);
  }
  std::make_heap(heap.begin(), heap.end(), later);

  constexpr std::uint32_t kRemoved = kNoRank - 1;  // as `previous`: swallowed by its left neighbour
  while (!heap.empty()) {
    std::pop_heap(heap.begin(), heap.end(), later);
    const Scratch::Candidate top = heap.back();
    heap.pop_back();
    // A candidate is out of date when one of its halves has merged otherwise since.
    auto& left = symbols[top.position];
    if (left.previous == kRemoved || candidate_at(top.position).rank != top.rank) continue;
    auto& right = symbols[left.next];
    left.id = top.result;
    left.next = right.next;
    right.previous = kRemoved;
    if (left.next != kNoRank) symbols[left.next].previous = top.position;
    if (left.previous != kNoRank) push(left.previous);
    push(top.position);
  }
  for (std::uint32_t i = 0; i != kNoRank; i = symbols[i].next) ids.push_back(symbols[i].id);
}

}  // namespace espalier::tokenizer
