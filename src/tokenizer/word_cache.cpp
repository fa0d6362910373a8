#include "tokenizer/word_cache.hpp"

#include <algorithm>

namespace espalier::tokenizer {

WordCache::WordCache() : entries_(kNumEntries) {
  static_assert(kNumEntries == std::size_t{1} << (64 - 48), "key_of takes 16 bits of the hash");
  pool_.reserve(kPoolWords);
}

void WordCache::insert(const Key& key, std::string_view piece, std::span<const std::uint32_t> ids) {
  Entry entry;
  entry.low = key.low;
  entry.high = key.high;
  entry.count = static_cast<std::uint32_t>(ids.size());
  const bool is_long = piece.size() > kInlineBytes;
  if (!is_long && ids.size() <= kInlineIds) {
    std::copy(ids.begin(), ids.end(), entry.ids);
  } else {
    const std::size_t num_words = is_long ? (piece.size() + 3) / 4 : 0;
    if (pool_.size() + num_words + ids.size() > kPoolWords) {
      pool_.clear();
      std::fill(entries_.begin(), entries_.end(), Entry{});
    }
    entry.ids[0] = static_cast<std::uint32_t>(pool_.size());
    entry.ids[1] = static_cast<std::uint32_t>(piece.size());
    pool_.resize(pool_.size() + num_words);
    if (is_long) std::memcpy(pool_.data() + entry.ids[0], piece.data(), piece.size());
    pool_.insert(pool_.end(), ids.begin(), ids.end());
  }
  entries_[key.slot] = entry;
}

}  // namespace espalier::tokenizer
