#pragma once
#include <array>
#include <cstdint>
#include <string_view>
#include <vector>

#include "tokenizer/definition.hpp"

namespace espalier::tokenizer {

/// Finds added tokens in text: the leftmost occurrence, the longest of those that begin there.
class AddedTokens {
 public:
  AddedTokens() = default;
  explicit AddedTokens(std::vector<AddedToken> tokens);
  bool empty() const { return tokens_.empty(); }

  struct Occurrence {
    const AddedToken* token;  ///< nullptr: no more; both places are then the end of the text
    std::size_t begin, end;   ///< with the white space that goes with the token
  };
  /// The occurrences in a text, in order. A token of single words is passed over between letters;
  /// one that takes white space before or after it (lstrip, rstrip) takes none that another took.
  class Search {
   public:
    Search(const AddedTokens& tokens, std::string_view text) : tokens_(tokens), text_(text) {}
    Occurrence next();

   private:
    const AddedTokens& tokens_;
    std::string_view text_;
    std::size_t searched_ = 0;  // the last occurrence, without its white space, ends here
    std::size_t taken_ = 0;     // and here with it
  };

 private:
  /// A beginning of tokens. Text full of "<" meets Llama-3's 256 tokens at every byte: a tree asks
  /// for each byte once, not once per token. Place 0 is no node.
  struct Node {
    std::uint32_t first_child, next_sibling;
    std::uint32_t token;  // that ends here: its place in tokens_, or kNone
    char byte;
  };
  static constexpr std::uint32_t kNone = 0xFFFFFFFFu;
  Occurrence find(std::string_view text, std::size_t from) const;
  std::uint32_t child_of(std::uint32_t node, char byte) const;
  std::uint32_t add_node(char byte, std::uint32_t next_sibling);

  std::vector<AddedToken> tokens_;
  std::vector<Node> nodes_;
  std::array<std::uint32_t, 256> by_first_byte_{};  // nodes
  int only_first_byte_ = -1;                        // when all begin alike: found by memchr
};

}  // namespace espalier::tokenizer
