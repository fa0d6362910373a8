#include "data/token_stream.hpp"

#include <algorithm>

#include "base/error.hpp"

namespace espalier::data {
namespace {

std::uint64_t num_documents(const ShardView& shard) {
  if (shard.tokens.empty()) return 0;
  return std::max<std::uint64_t>(shard.documents.size(), 1);
}

}  // namespace

TokenStream::TokenStream(std::vector<ShardView> shards) : shards_(std::move(shards)) {
  std::uint64_t documents = 0;
  for (const ShardView& shard : shards_) {
    begins_.push_back(size_);
    documents_before_.push_back(documents);
    size_ += shard.tokens.size();
    documents += num_documents(shard);
  }
  begins_.push_back(size_);
}

std::uint64_t TokenStream::num_samples(std::int64_t sequence_length) const {
  ESPALIER_ASSERT(sequence_length > 0, "S {}", sequence_length);
  return size_ == 0 ? 0 : (size_ - 1) / static_cast<std::uint64_t>(sequence_length);
}

std::size_t TokenStream::shard_of(std::uint64_t token) const {
  return static_cast<std::size_t>(std::upper_bound(begins_.begin(), begins_.end(), token) -
                                  begins_.begin()) -
         1;
}

void TokenStream::copy(std::uint64_t first, std::span<std::uint32_t> out) const {
  ESPALIER_ASSERT(first <= size_ && out.size() <= size_ - first, "tokens [{}, {}) of {}", first,
                  first + out.size(), size_);
  for (std::size_t shard = shard_of(first); !out.empty(); ++shard) {
    const auto source = shards_[shard].tokens.subspan(first - begins_[shard]);
    const std::size_t count = std::min(source.size(), out.size());
    std::copy_n(source.begin(), count, out.begin());
    out = out.subspan(count);
    first += count;
  }
}

std::uint64_t TokenStream::next_document(std::uint64_t token) const {
  if (token >= size_) return size_;
  const std::size_t shard = shard_of(token);
  const auto& documents = shards_[shard].documents;
  const auto next = std::upper_bound(documents.begin(), documents.end(), token - begins_[shard]);
  if (next == documents.end()) return begins_[shard + 1];
  require(
      *next < shards_[shard].tokens.size(), ExitStatus::bad_data,
      "{}: a document starts at token {} of {}: the file is damaged. Write the shards again with "
      "`espalier tokenize`",
      shards_[shard].name, *next, shards_[shard].tokens.size());
  return begins_[shard] + *next;
}

std::uint64_t TokenStream::documents_until(std::uint64_t token) const {
  const std::size_t shard = shard_of(std::min(token, size_ - 1));
  const auto& documents = shards_[shard].documents;
  const auto here = std::upper_bound(documents.begin(), documents.end(), token - begins_[shard]) -
                    documents.begin();
  return documents_before_[shard] + (documents.empty() ? 1 : static_cast<std::uint64_t>(here));
}

std::uint64_t TokenStream::documents_between(std::uint64_t first, std::uint64_t last) const {
  ESPALIER_ASSERT(first <= last && last < size_, "tokens ({}, {}] of {}", first, last, size_);
  return documents_until(last) - documents_until(first);
}

}  // namespace espalier::data
