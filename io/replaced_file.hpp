#pragma once
#include <filesystem>
#include <string_view>

namespace espalier::io {

/// Puts a file with this text in the place of another one, or of none: a temporary file beside it
/// (name + ".tmp") and a rename, so that a reader meets the old text or the new one, never a part.
/// Not flushed to the disk: for files that are made anew after a crash. Throws Error (io_error).
void replace_file(const std::filesystem::path& path, std::string_view text);

}  // namespace espalier::io
