#pragma once
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "tokenization/token_documents.hpp"
#include "tokenizer/tokenizer.hpp"
#include "train/document_marks.hpp"

namespace espalier::tokenization {

/// What a document of a token file has of the tokens that must stand around it in a shard.
struct Around {
  bool begin = false;            ///< DocumentMarks::begin, where it is not empty
  bool separator = false;        ///< DocumentMarks::separator
  std::uint64_t num_text = 0;    ///< tokens between them
  std::uint64_t num_tokens = 0;  ///< with those that it lacks
};
Around around(const TokenDocument& document, const train::DocumentMarks& marks);

/// Documents of token files as shards have them, with the bytes of their text.
class ShardDocument {
 public:
  /// `tokenizer_file` is for messages. `tokenizer` and `marks` are kept as references.
  ShardDocument(const tokenizer::Tokenizer& tokenizer, const train::DocumentMarks& marks,
                std::string tokenizer_file);
  /// Throws Error (bad_data) that names file and place of an id that the tokenizer has not.
  void take(const TokenDocument& document, const Around& has);
  /// What stands before the text, the text, and the separator.
  const std::vector<std::uint32_t>& tokens() const { return tokens_; }
  std::uint64_t text_bytes() const { return text_bytes_; }

 private:
  std::uint64_t count_bytes(std::span<const std::uint32_t> text) const;
  [[noreturn]] void refuse(const TokenDocument::Piece& piece, std::uint64_t i) const;

  const tokenizer::Tokenizer& tokenizer_;
  const train::DocumentMarks& marks_;
  std::string tokenizer_file_;
  std::vector<std::uint32_t> bytes_of_id_;  // (vocabulary)
  std::vector<std::uint32_t> tokens_;
  std::uint64_t text_bytes_ = 0;
};

}  // namespace espalier::tokenization
