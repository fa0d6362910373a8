#pragma once
#include <array>
#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

#include "tokenizer/bpe.hpp"
#include "tokenizer/pre_tokenizer.hpp"

namespace espalier::tokenizer {

/// A token that is looked for in the text as it stands, before anything is cut or merged.
struct AddedToken {
  std::string content;
  std::uint32_t id = 0;
  bool normalized = false;  ///< looked for after the normalisation, not before
};

/// One id of the vocabulary.
struct Token {
  enum class Kind : std::uint8_t {
    none,     ///< the id is not used
    bytes,    ///< made of byte symbols: merges can reach it
    literal,  ///< text outside the byte alphabet: only an added token can be it
  };
  std::string bytes;
  Kind kind = Kind::none;
};

/// A tokenizer as its file describes it, whatever the format.
struct Definition {
  std::vector<Token> tokens;  ///< by id, without the tokens that are only added
  std::vector<Merge> merges;  ///< in order of rank
  std::vector<AddedToken> added;
  std::array<std::uint32_t, 256> byte_ids{};
  PreTokenizer pre_tokenizer = PreTokenizer::qwen;
  bool nfc = false;
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
