#pragma once
#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "config/parameters.hpp"

namespace espalier::commands {

/// The tokenizer that goes with an exported model.
struct TokenizerToExport {
  std::filesystem::path file;         ///< of any form that is read; empty: none
  std::vector<std::string> warnings;  ///< why there is none, what to copy, what does not fit
  std::string separator;              ///< text of the token between documents; empty: not known
  std::optional<std::uint32_t> separator_id;
  /// Tokens that stand before a text, as text and id.
  std::vector<std::pair<std::string, std::uint32_t>> begin;
};

/// `named` on the command line, else data.tokenizer `of_checkpoint`, the path it was trained with.
/// A named file must be there and have the checkpoint's `identity` (empty: any); for the other a
/// warning is given. Throws Error (bad_data).
TokenizerToExport find_tokenizer(const std::string& named,
                                 const config::DataParameters& of_checkpoint,
                                 const std::string& identity);

/// Writes tokenizer.json and what belongs to it, so that AutoTokenizer loads the folder: copies of
/// a Hugging Face folder's files, or files made from another form. Throws Error (io_error).
void write_tokenizer(const TokenizerToExport& tokenizer, const std::filesystem::path& folder,
                     std::int64_t max_length);

}  // namespace espalier::commands
