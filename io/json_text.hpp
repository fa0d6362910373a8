#pragma once
#include <string>
#include <string_view>

namespace espalier::io {

/// The string under `key` of the JSON object in `line`. Throws std::runtime_error with a reason
/// that does not yet name the file: no JSON, no object, no such key, not a string.
std::string json_text(std::string_view line, const std::string& key);

/// `text` as a JSON string with its quotes; what is not UTF-8 becomes U+FFFD.
std::string json_string(std::string_view text);

}  // namespace espalier::io
