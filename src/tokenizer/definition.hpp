#pragma once
#include <array>
#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "tokenizer/bpe.hpp"
#include "tokenizer/normalizer.hpp"
#include "tokenizer/split_steps.hpp"

namespace espalier::tokenizer {

/// A token that is looked for in the text as it stands, before anything is cut or merged.
struct AddedToken {
  std::string content;
  std::uint32_t id = 0;
  bool normalized = false;   ///< looked for after the normalisation, not before
  bool special = false;      ///< of two with the same text the special one is found
  bool single_word = false;  ///< not between characters of words
  bool lstrip = false;       ///< takes the white space before it
  bool rstrip = false;       ///< takes the white space after it
};

/// One id of the vocabulary.
struct Token {
  enum class Kind : std::uint8_t {
    none,     ///< the id is not used
    bytes,    ///< made of the alphabet's symbols: merges can reach it
    literal,  ///< text outside the byte alphabet: only an added token can be it
  };
  std::string bytes;
  Kind kind = Kind::none;
};

/// An alphabet of characters instead of bytes, as SentencePiece's BPE has it: what becomes of those
/// that are not in the vocabulary, and how ids become text.
struct CharacterAlphabet {
  bool has_byte_fallback = false;        ///< their bytes become the tokens <0x00> ... <0xFF>
  std::optional<std::uint32_t> unknown;  ///< or they become this one
  bool fuses_unknown = false;            ///< a run of them becomes a single one

  std::vector<std::pair<std::string, std::string>> decoded_as;  ///< in every token, in order
  bool decodes_bytes = false;                                   ///< <0x0A> becomes the byte
  std::string stripped;           ///< a character that is taken away before a text,
  std::size_t most_stripped = 0;  ///< so many times at most
  std::string first_without;      ///< what a text's first token loses altogether; empty: nothing
};

/// A tokenizer as its file describes it, whatever the format.
struct Definition {
  std::vector<Token> tokens;  ///< by id, without the tokens that are only added
  std::vector<Merge> merges;  ///< in order of rank
  std::vector<AddedToken> added;
  std::array<std::uint32_t, 256> byte_ids{};
  std::optional<CharacterAlphabet> characters;  ///< nothing: the alphabet is that of bytes
  std::vector<NormalizerStep> normalizer;
  PrefixMark prefix;
  std::vector<SplitStep> splits;
  bool ignore_merges = false;      ///< a piece that is a token is taken without merging
  bool is_tokenizer_json = false;  ///< the file is a tokenizer.json, which says all of this itself

  /// Puts a token in its place. Throws Error (bad_data), prefixed with `file`, when the id is taken
  /// by another one or too large to be meant.
  void add_token(const std::filesystem::path& file, std::uint64_t id, std::string bytes,
                 Token::Kind kind);
  /// Sets byte_ids from the tokens of one byte. Throws Error (bad_data) when a byte has none.
  void find_bytes(const std::filesystem::path& file);
};

/// Any file that Tokenizer::from_file reads.
Definition read_definition(const std::filesystem::path& file);
/// Hugging Face's tokenizer.json, or GPT-2's vocab.json with merges.txt beside it. Throws Error
/// (bad_data) that names what is not supported.
Definition read_tokenizer_json(const std::filesystem::path& file, std::string_view text);
/// Lines "base64 rank". The merges are found from the ranks: the last two parts of a token under
/// the merges of lower rank are what it is made of.
Definition read_tiktoken(const std::filesystem::path& file, std::string_view text);

}  // namespace espalier::tokenizer
