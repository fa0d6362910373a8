#pragma once
#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

namespace espalier::inference {

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
                                    bool json_lines, const std::vector<std::string>& text_key);

/// The prompt that standard input holds. A byte-order mark at its beginning is no text, here too.
/// Throws Error (usage) when it is not UTF-8, as a prompt of the command line must be.
std::string prompt_of_stream(std::string_view text);

/// The text of a file of prompts or of standard input ("-"), unpacked as tokenize.input is. Throws
/// Error (bad_data) when it is no text or prompts_of_file would find none, and as io::ByteSource.
std::string read_prompt_file(const std::filesystem::path& file,
                             const std::vector<std::string>& text_key);

/// The prompts in the text of this file: JSON lines by its name, or by its beginning where the name
/// does not say. Throws as prompts_of_text.
std::vector<Prompt> prompts_of_file(const std::filesystem::path& file, std::string_view text,
                                    const std::vector<std::string>& text_key);

}  // namespace espalier::inference
