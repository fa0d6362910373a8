#pragma once
#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

namespace espalier::commands {

/// A text to continue, and where it stands.
struct Prompt {
  std::string text;
  std::uint64_t line = 0;  ///< of the file, from 1; 0: of no file
};

/// The prompts in the text of a file. A byte-order mark of UTF-8 at its beginning is no text; a
/// line ends with \n or \r\n, which are no part of it; a blank line (nothing but white space) is no
/// prompt. Plain text: every other line is one. JSON lines: of every other line the value of
/// `text_key`, which may be empty. Throws Error (bad_data) that names `file` and the line.
std::vector<Prompt> prompts_of_text(const std::filesystem::path& file, std::string_view text,
                                    bool json_lines, const std::string& text_key);

/// The prompts of a file, packed as tokenize.input may be; JSON lines by its name. Throws the same
/// when there is no prompt in it, and as io::ByteSource.
std::vector<Prompt> read_prompts(const std::filesystem::path& file, const std::string& text_key);

}  // namespace espalier::commands
