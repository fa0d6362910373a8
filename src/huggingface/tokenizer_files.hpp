#pragma once
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

namespace espalier::huggingface {

/// Byte-level BPE as tokenizer.json tells it.
struct TokenizerJson {
  std::vector<std::pair<std::string, std::uint32_t>> vocabulary;  ///< bytes of a token, id
  std::vector<std::pair<std::string, std::string>> merges;        ///< bytes, in order of rank
  struct Special {
    std::string content;
    std::uint32_t id;
    bool normalized;  ///< looked for after the normalisation
  };
  std::vector<Special> special;
  /// Tokens that are put before a text, as text and id.
  std::vector<std::pair<std::string, std::uint32_t>> begin;
  std::string split_regex;     ///< of the pre-tokeniser
  bool nfc = false;            ///< normaliser
  bool ignore_merges = false;  ///< a piece that is a token is taken without merging
};
std::string write_tokenizer_json(const TokenizerJson& tokenizer);

/// tokenizer_config.json of a folder whose tokenizer.json says everything. `separator`: text of the
/// token between documents; it ends a text and pads. `begin`: text of the token before a text;
/// empty: none. `max_length` in tokens.
std::string write_tokenizer_config(const std::string& separator, const std::string& begin,
                                   std::int64_t max_length);

/// The same bytes in GPT-2's byte alphabet, in which tokenizer.json writes tokens: printable bytes
/// stand for themselves, the others are the code points from 256 on, in order.
std::string to_byte_alphabet(const std::string& bytes);

}  // namespace espalier::huggingface
