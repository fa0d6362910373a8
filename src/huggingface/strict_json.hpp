#pragma once
#include <filesystem>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>

namespace espalier::huggingface {

/// The object in `text`. Throws Error (bad_data) that names `file`: no JSON, no object, or a key
/// that an object has twice, of which readers would silently take one or the other.
nlohmann::json parse_object(const std::filesystem::path& file, std::string_view text);

/// All of a file that is meant to be small. Throws Error (io_error; bad_data above 64 MiB).
std::string read_small_file(const std::filesystem::path& file);

/// JSON of a file for a message: short, and valid text whatever the file holds.
std::string shown(const nlohmann::json& value);

}  // namespace espalier::huggingface
