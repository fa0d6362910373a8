#include "tokenizer/added_tokens.hpp"

#include <algorithm>
#include <cstring>

#include "tokenizer/unicode.hpp"

namespace espalier::tokenizer {
namespace {

/// Where the last character of a text begins.
std::size_t begin_of_last(std::string_view text) {
  std::size_t at = text.size() - 1;
  while (at > 0 && (static_cast<unsigned char>(text[at]) & 0xC0) == 0x80) --at;
  return at;
}
bool is_space(std::string_view text, std::size_t at) {
  return (UnicodeTable::instance().flags(decode_utf8(text.data() + at).value) & kSpace) != 0;
}
bool ends_with_word(std::string_view text) {
  return !text.empty() && is_word(decode_utf8(text.data() + begin_of_last(text)).value);
}
bool begins_with_word(std::string_view text) {
  return !text.empty() && is_word(decode_utf8(text.data()).value);
}

}  // namespace

AddedTokens::AddedTokens(std::vector<AddedToken> tokens)
    : tokens_(std::move(tokens)), nodes_(1, Node{0, 0, kNone, 0}) {
  const auto first = [](const AddedToken& token) {
    return static_cast<unsigned char>(token.content.front());
  };
  for (std::uint32_t t = 0; t < tokens_.size(); ++t) {
    const std::string& content = tokens_[t].content;
    std::uint32_t& root = by_first_byte_[first(tokens_[t])];
    if (root == 0) root = add_node(content.front(), 0);
    std::uint32_t node = root;
    for (std::size_t i = 1; i < content.size(); ++i) {
      std::uint32_t child = child_of(node, content[i]);
      if (child == 0)
        nodes_[node].first_child = child = add_node(content[i], nodes_[node].first_child);
      node = child;
    }
    if (nodes_[node].token == kNone) nodes_[node].token = t;
  }
  const auto begins_as_the_first = [&](const auto& t) { return first(t) == first(tokens_[0]); };
  if (!tokens_.empty() && std::all_of(tokens_.begin(), tokens_.end(), begins_as_the_first))
    only_first_byte_ = first(tokens_[0]);
}

std::uint32_t AddedTokens::child_of(std::uint32_t node, char byte) const {
  std::uint32_t child = nodes_[node].first_child;
  while (child != 0 && nodes_[child].byte != byte) child = nodes_[child].next_sibling;
  return child;
}

std::uint32_t AddedTokens::add_node(char byte, std::uint32_t next_sibling) {
  nodes_.push_back({0, next_sibling, kNone, byte});
  return static_cast<std::uint32_t>(nodes_.size() - 1);
}

AddedTokens::Occurrence AddedTokens::find(std::string_view text, std::size_t from) const {
  if (tokens_.empty()) return {nullptr, text.size(), text.size()};
  for (std::size_t i = from; i < text.size(); ++i) {
    if (only_first_byte_ >= 0) {
      const void* found = std::memchr(text.data() + i, only_first_byte_, text.size() - i);
      if (found == nullptr) break;
      i = static_cast<std::size_t>(static_cast<const char*>(found) - text.data());
    }
    std::uint32_t longest = kNone;
    std::uint32_t node = by_first_byte_[static_cast<unsigned char>(text[i])];
    for (std::size_t next = i + 1; node != 0; node = child_of(node, text[next++])) {
      if (nodes_[node].token != kNone) longest = nodes_[node].token;
      if (next == text.size()) break;
    }
    if (longest != kNone) return {&tokens_[longest], i, i + tokens_[longest].content.size()};
  }
  return {nullptr, text.size(), text.size()};
}

AddedTokens::Occurrence AddedTokens::Search::next() {
  while (true) {
    Occurrence found = tokens_.find(text_, searched_);
    if (found.token == nullptr) return found;
    searched_ = found.end;
    if (found.token->single_word &&
        (ends_with_word(text_.substr(0, found.begin)) || begins_with_word(text_.substr(found.end))))
      continue;
    if (found.token->lstrip)
      while (found.begin > taken_) {
        const std::size_t last = begin_of_last(text_.substr(0, found.begin));
        if (!is_space(text_, last)) break;
        found.begin = last;
      }
    // What the token before took is not given back.
    if (found.token->lstrip && found.begin < taken_) found.begin = taken_;
    if (found.token->rstrip)
      while (found.end < text_.size() && is_space(text_, found.end))
        found.end += static_cast<std::size_t>(decode_utf8(text_.data() + found.end).num_bytes);
    taken_ = found.end;
    return found;
  }
}

}  // namespace espalier::tokenizer
