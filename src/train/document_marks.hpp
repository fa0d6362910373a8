#pragma once
#include <cstdint>
#include <optional>
#include <vector>

#include "config/parameters.hpp"
#include "tokenizer/tokenizer.hpp"

namespace espalier::train {

/// The tokens that [data] puts around every document: begin, its text, separator.
struct DocumentMarks {
  std::vector<std::uint32_t> begin;  ///< empty: nothing stands before a document
  std::optional<std::uint32_t>
      separator;  ///< nothing: the tokenizer has no usual one, none is named
};

/// data.begin_of_document and data.document_separator_token as ids of `tokenizer`, which is
/// data.tokenizer. "auto" is what the post_processor of a tokenizer.json puts before a text, and
/// <|begin_of_text|> of a .tiktoken or .model file that has it. Throws Error (bad_configuration)
/// for a name that is no token, naming the key.
DocumentMarks document_marks(const config::DataParameters& data,
                             const tokenizer::Tokenizer& tokenizer);

/// The separator where one is needed. Throws Error (bad_data) when there is none.
std::uint32_t require_separator(const DocumentMarks& marks, const tokenizer::Tokenizer& tokenizer);

}  // namespace espalier::train
