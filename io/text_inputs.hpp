#pragma once
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "io/file_kind.hpp"

namespace espalier::io {

/// The texts that a list of names means: the one place that lists inputs.
struct TextInputs {
  std::vector<std::filesystem::path> files;  ///< in the order in which they are read

  struct LeftOut {
    std::string why;  ///< "names that say neither text nor JSON lines"
    std::vector<std::filesystem::path> paths;
  };
  std::vector<LeftOut> left_out;  ///< of the folders, by reason
  std::vector<std::filesystem::path> named_twice;
  std::vector<std::filesystem::path> streams;  ///< those of `files` that can be read only once
};

/// A folder stands for all files of text below it whose name says so (NamedKind::in_folders; with
/// `format`: any name that is not hidden), sorted by path; links are followed, a folder is
/// entered once. "-" is standard input. Every file, but no stream, is opened and its first bytes
/// looked at. Throws Error (bad_data) that lists what is missing, what is no text, and a stream
/// that is named twice; `key` is the parameter that named them. `allows_damaged`: packed
/// files that are damaged at their beginning are listed like others.
TextInputs list_text_inputs(const std::vector<std::string>& names, std::optional<TextFormat> format,
                            const std::string& key, bool allows_damaged = false);

}  // namespace espalier::io
