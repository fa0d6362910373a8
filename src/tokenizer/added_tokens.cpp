#include "tokenizer/added_tokens.hpp"

#include <algorithm>
#include <cstring>

namespace espalier::tokenizer {

AddedTokens::AddedTokens(std::vector<AddedToken> tokens) : tokens_(std::move(tokens)) {
  const auto first = [](const AddedToken& token) {
    return static_cast<unsigned char>(token.content.front());
  };
  std::stable_sort(tokens_.begin(), tokens_.end(), [&](const auto& a, const auto& b) {
    if (first(a) != first(b)) return first(a) < first(b);
    return a.content.size() > b.content.size();
  });
  for (std::uint32_t i = 0; i < tokens_.size(); ++i) {
    Range& range = by_first_byte_[first(tokens_[i])];
    if (range.end == 0) range.begin = i;
    range.end = i + 1;
  }
  if (!tokens_.empty() && first(tokens_.front()) == first(tokens_.back()))
    only_first_byte_ = first(tokens_.front());
}

AddedTokens::Occurrence AddedTokens::find(std::string_view text, std::size_t from) const {
  if (tokens_.empty()) return {nullptr, text.size()};
  for (std::size_t i = from; i < text.size(); ++i) {
    if (only_first_byte_ >= 0) {
      const void* found = std::memchr(text.data() + i, only_first_byte_, text.size() - i);
      if (found == nullptr) break;
      i = static_cast<std::size_t>(static_cast<const char*>(found) - text.data());
    }
    const Range range = by_first_byte_[static_cast<unsigned char>(text[i])];
    for (std::uint32_t t = range.begin; t < range.end; ++t)
      if (text.substr(i).starts_with(tokens_[t].content)) return {&tokens_[t], i};
  }
  return {nullptr, text.size()};
}

}  // namespace espalier::tokenizer
