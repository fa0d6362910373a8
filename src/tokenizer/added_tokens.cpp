#include "tokenizer/added_tokens.hpp"

#include <algorithm>
#include <cstring>

namespace espalier::tokenizer {

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
  if (tokens_.empty()) return {nullptr, text.size()};
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
    if (longest != kNone) return {&tokens_[longest], i};
  }
  return {nullptr, text.size()};
}

}  // namespace espalier::tokenizer
