#pragma once
#include <filesystem>
#include <optional>
#include <string>

namespace espalier {

/// All bytes of a file, opened anew. Nothing when that is not possible; errno says why (EISDIR for
/// a folder).
std::optional<std::string> read_whole_file(const std::filesystem::path& path);

}  // namespace espalier
