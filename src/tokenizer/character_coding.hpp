#pragma once
#include <array>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "tokenizer/definition.hpp"

namespace espalier::tokenizer {

/// U+2581, which stands for a blank in vocabularies of characters.
inline constexpr std::string_view kBlankMark = "\xE2\x96\x81";

/// Characters to the symbols that the merges begin with, and ids back to text, for a vocabulary of
/// characters (Definition::characters).
class CharacterCoding {
 public:
  explicit CharacterCoding(const Definition& definition);
  /// The text of an id where it is not that of the vocabulary: an added token that is looked for in
  /// normalised text is written as it is found.
  void set_text(std::uint32_t id, std::string_view token);
  /// `symbols` become those of valid UTF-8.
  void symbols_of(std::string_view piece, std::vector<std::uint32_t>& symbols) const;
  /// Text of ids that all have a token.
  std::string decode(std::span<const std::uint32_t> ids, bool begins_text) const;

  /// Whether no merge joins the end of a word to a blank mark behind it. Text without a
  /// pre-tokeniser can then be cut there: the ids are the same, and words are found in the cache.
  static bool words_never_merge(const Definition& definition);

 private:
  std::uint32_t id_of(std::uint32_t code_point) const;
  CharacterAlphabet alphabet_;
  std::array<std::uint32_t, 128> ascii_;                     // kNoRank: not in the vocabulary
  std::unordered_map<std::uint32_t, std::uint32_t> others_;  // by code point
  std::array<std::uint32_t, 256> byte_ids_;                  // of <0x00> ..., or kNoRank
  std::vector<std::string> decoded_, decoded_first_;         // by id
};

}  // namespace espalier::tokenizer
