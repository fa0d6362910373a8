#pragma once
#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>

namespace espalier::commands {

/// The tokenizer that goes with an exported model.
struct TokenizerToExport {
  std::filesystem::path file;  ///< of any form that is read; empty: none
  std::string warning;         ///< why there is none, and what to copy
  std::string separator;       ///< text of the token between documents; empty: not known
  std::optional<std::uint32_t> separator_id;
  std::optional<std::uint32_t> begin_id;  ///< of the token that a text begins with, when it is one
};

/// `named` on the command line, else `of_checkpoint`, the path it was trained with. A named file
/// must be there and have the checkpoint's `identity` (empty: any); for the other a warning is
/// given. Throws Error (bad_data).
TokenizerToExport find_tokenizer(const std::string& named, const std::string& of_checkpoint,
                                 const std::string& identity);

/// Writes tokenizer.json and what belongs to it, so that AutoTokenizer loads the folder: copies of
/// a Hugging Face folder's files, or files made from another form. Throws Error (io_error).
void write_tokenizer(const TokenizerToExport& tokenizer, const std::filesystem::path& folder,
                     std::int64_t max_length);

}  // namespace espalier::commands
