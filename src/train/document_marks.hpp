#pragma once
#include <cstdint>
#include <filesystem>
#include <optional>
#include <vector>

#include "config/parameters.hpp"
#include "tokenizer/tokenizer.hpp"

namespace espalier::train {

/// The tokens that [data] puts around every document: begin, its text, separator.
struct DocumentMarks {
  std::vector<std::uint32_t> begin;  ///< empty: nothing stands before a document
  /// Nothing: the tokenizer has no usual one, and none is named.
  std::optional<std::uint32_t> separator;
};

/// What a tokenizer puts before a text: what the post_processor of a tokenizer.json says, and
/// <|begin_of_text|> of a .tiktoken or .model file that has it. `tokenizer` is that of `file`.
std::vector<std::uint32_t> usual_begin(const std::filesystem::path& file,
                                       const tokenizer::Tokenizer& tokenizer);

/// data.begin_of_document and data.document_separator_token as ids of `tokenizer`, which is
/// data.tokenizer. "auto" is usual_begin. Throws Error (bad_configuration)
/// for a name that is no token, naming the key.
DocumentMarks document_marks(const config::DataParameters& data,
                             const tokenizer::Tokenizer& tokenizer);

/// The separator where one is needed. Throws Error (bad_data) when there is none.
std::uint32_t require_separator(const DocumentMarks& marks, const tokenizer::Tokenizer& tokenizer);

}  // namespace espalier::train
