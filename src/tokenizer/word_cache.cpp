#include "tokenizer/word_cache.hpp"

#include <algorithm>

#include "base/error.hpp"

namespace espalier::tokenizer {

WordCache::WordCache()
    : memory_(std::calloc(kNumBuckets + 1, sizeof(Bucket)), &std::free), buckets_(nullptr) {
  require(memory_ != nullptr, ExitStatus::internal, "no memory for the cache of words ({} bytes)",
          (kNumBuckets + 1) * sizeof(Bucket));
  void* begin = memory_.get();
  std::size_t size = (kNumBuckets + 1) * sizeof(Bucket);
  buckets_ = static_cast<Bucket*>(std::align(alignof(Bucket), sizeof(Bucket), begin, size));
  pool_.reserve(kPoolWords);
}

void WordCache::insert(const Key& key, std::string_view piece, std::span<const std::uint32_t> ids) {
  Entry entry{};
  entry.low = key.low;
  entry.high = key.high;
  entry.count = static_cast<std::uint32_t>(ids.size());
  const bool is_long = piece.size() > kInlineBytes;
  if (!is_long && ids.size() <= kInlineIds) {
    std::copy(ids.begin(), ids.end(), entry.ids);
  } else {
    const std::size_t num_words = is_long ? (piece.size() + 3) / 4 : 0;
    // A span in the pool may be read up to kInlineIds values, whatever its length.
    if (pool_.size() + num_words + ids.size() + kInlineIds > kPoolWords) {
      pool_.clear();
      std::fill_n(buckets_, kNumBuckets, Bucket{});
    }
    entry.ids[0] = static_cast<std::uint32_t>(pool_.size());
    entry.ids[1] = static_cast<std::uint32_t>(piece.size());
    pool_.resize(pool_.size() + num_words);
    if (is_long) std::memcpy(pool_.data() + entry.ids[0], piece.data(), piece.size());
    pool_.insert(pool_.end(), ids.begin(), ids.end());
  }
  Bucket& bucket = buckets_[key.bucket];
  bucket.entries[1] = bucket.entries[0];
  bucket.entries[0] = entry;
}

}  // namespace espalier::tokenizer
