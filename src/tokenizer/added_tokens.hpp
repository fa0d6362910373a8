#pragma once
#include <array>
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
    const AddedToken* token;  ///< nullptr: none
    std::size_t begin;
  };
  Occurrence find(std::string_view text, std::size_t from) const;

 private:
  struct Range {
    std::uint32_t begin, end;
  };
  std::vector<AddedToken> tokens_;          // by first byte, the longest first
  std::array<Range, 256> by_first_byte_{};  // where in tokens_
  int only_first_byte_ = -1;                // when all begin alike: found by memchr
};

}  // namespace espalier::tokenizer
