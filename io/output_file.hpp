#pragma once
#include <filesystem>
#include <string>

namespace espalier::io {

/// What a person names as an output must be new: Error (bad_configuration) when anything has that
/// name, a link that leads nowhere included, or when its folder is not there. `key`: the parameter
/// that named it. Asked before the work begins, and again before the file gets its name.
void require_new_output(const std::filesystem::path& path, const std::string& key);

}  // namespace espalier::io
