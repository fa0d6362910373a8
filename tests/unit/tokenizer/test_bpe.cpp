#include <algorithm>
#include <catch2/catch.hpp>
#include <random>
#include <string>
#include <vector>

#include "tokenizer/added_tokens.hpp"
#include "tokenizer/bpe.hpp"

using namespace espalier::tokenizer;
using Ids = std::vector<std::uint32_t>;

namespace {

/// Merges of the letters a to d, at first as a training finds them. Shuffled, a merge may rank
/// before those that make its halves, which no training does but a file may hold.
std::vector<Merge> random_merges(std::mt19937& random, std::uint32_t count, bool shuffled) {
  std::vector<std::uint32_t> ids = {'a', 'b', 'c', 'd'};
  std::vector<Merge> merges;
  while (merges.size() < count) {
    const auto pick = [&] { return ids[random() % ids.size()]; };
    const std::uint32_t left = pick(), right = pick();
    const auto is_same = [&](const Merge& m) { return m.left == left && m.right == right; };
    if (std::any_of(merges.begin(), merges.end(), is_same)) continue;
    merges.push_back({left, right, 256 + static_cast<std::uint32_t>(merges.size())});
    ids.push_back(merges.back().result);
  }
  if (shuffled) std::shuffle(merges.begin(), merges.end(), random);
  return merges;
}

/// The definition: the leftmost pair of the lowest rank merges, until none does.
Ids plainly_merged(const std::string& piece, const std::vector<Merge>& merges) {
  Ids ids(piece.begin(), piece.end());
  for (;;) {
    std::size_t lowest = merges.size(), place = 0;
    for (std::size_t i = 0; i + 1 < ids.size(); ++i)
      for (std::size_t rank = 0; rank < lowest; ++rank)
        if (merges[rank].left == ids[i] && merges[rank].right == ids[i + 1]) {
          lowest = rank;
          place = i;
        }
    if (lowest == merges.size()) return ids;
    ids[place] = merges[lowest].result;
    ids.erase(ids.begin() + static_cast<std::ptrdiff_t>(place) + 1);
  }
}

}  // namespace

TEST_CASE("Pieces of any length merge as the definition says", "[bpe]") {
  std::mt19937 random(5);
  std::array<std::uint32_t, 256> byte_ids;
  for (std::uint32_t byte = 0; byte < 256; ++byte) byte_ids[byte] = byte;
  Bpe::Scratch scratch;
  for (int vocabulary = 0; vocabulary < 60; ++vocabulary) {
    const auto merges = random_merges(random, 40, vocabulary % 2 == 1);
    Bpe bpe(byte_ids, merges.size());
    for (std::uint32_t rank = 0; rank < merges.size(); ++rank) bpe.add_merge(merges[rank], rank);
    for (const std::size_t size : {1, 2, 7, 47, 48, 49, 50, 120, 300}) {
      const auto num_letters = 1 + random() % 4;
      std::string piece;
      while (piece.size() < size) piece += static_cast<char>('a' + random() % num_letters);
      Ids ids;
      bpe.encode(piece, ids, scratch);
      INFO("vocabulary " << vocabulary << ", " << piece);
      REQUIRE(ids == plainly_merged(piece, merges));
    }
  }
}

TEST_CASE("Candidates leave the heap by rank, then from left to right", "[bpe]") {
  std::mt19937 random(6);
  CandidateHeap heap;
  std::vector<std::pair<std::uint32_t, std::uint32_t>> inside;
  // Filled and emptied in turn, so that every number of children of the last node occurs.
  for (int i = 0; i < 20'000; ++i) {
    if (inside.empty() || random() % 5 < (i % 4000 < 2000 ? 4 : 1)) {
      const std::uint32_t rank = random() % 50, position = random();
      heap.push(rank, position);
      inside.emplace_back(rank, position);
      continue;
    }
    const auto lowest = std::min_element(inside.begin(), inside.end());
    const auto candidate = heap.pop();
    REQUIRE(candidate.rank == lowest->first);
    REQUIRE(candidate.position == lowest->second);
    inside.erase(lowest);
  }
  heap.clear();
  CHECK(heap.empty());
}

TEST_CASE("The leftmost and longest added token is found", "[bpe]") {
  std::mt19937 random(7);
  const auto some_text = [&](std::size_t size, std::uint32_t num_letters) {
    std::string text;
    while (text.size() < size) text += static_cast<char>('a' + random() % num_letters);
    return text;
  };
  for (int round = 0; round < 300; ++round) {
    std::vector<AddedToken> tokens;
    const auto count = random() % 8;
    for (std::uint32_t id = 0; id < count; ++id) {
      AddedToken token{};
      token.id = id;
      // Often all begin alike, which is looked for in another way.
      token.content = (round % 2 == 0 ? "a" : "") + some_text(1 + random() % 4, 3);
      tokens.push_back(token);
    }
    const AddedTokens added(tokens);
    CHECK(added.empty() == tokens.empty());
    const std::string text = some_text(random() % 40, 4);
    AddedTokens::Search search(added, text);
    for (std::size_t from = 0;;) {
      std::size_t begin = from;
      const AddedToken* expected = nullptr;
      for (; begin < text.size() && expected == nullptr; ++begin)
        for (const AddedToken& token : tokens)
          if (text.compare(begin, token.content.size(), token.content) == 0 &&
              (expected == nullptr || token.content.size() > expected->content.size()))
            expected = &token;
      const auto found = search.next();
      INFO(text << " from " << from);
      REQUIRE((found.token == nullptr) == (expected == nullptr));
      if (expected == nullptr) {
        REQUIRE(found.begin == text.size());
        break;
      }
      REQUIRE(found.token->id == expected->id);  // of equals the first
      REQUIRE(found.begin == begin - 1);
      REQUIRE(found.end == found.begin + expected->content.size());
      from = found.end;
    }
  }
}
