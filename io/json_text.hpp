#pragma once
#include <string>
#include <string_view>

namespace espalier::io {

/// The string under `key` of the JSON object in `line`. Throws std::runtime_error with a reason
/// that does not yet name the file: no JSON, no object, no such key, not a string.
std::string json_text(std::string_view line, const std::string& key);

}  // namespace espalier::io
