#pragma once
#include <cstdint>
#include <stdexcept>
#include <string>
#include <string_view>

namespace espalier::io {

/// Why a line of JSON lines holds no document.
enum class BadLine : std::uint8_t {
  not_json,
  not_a_number,  ///< NaN or Infinity, which Python writes and JSON has not
  lone_surrogate,
  not_utf8,
  not_an_object,
  no_such_key,
  not_a_string,
};
inline constexpr std::size_t kNumBadLines = 7;
/// As in a summary: "12 lines: <name>".
inline constexpr const char* kBadLineNames[kNumBadLines] = {"not one JSON object per line",
                                                            "NaN or Infinity, which JSON has not",
                                                            "half a surrogate pair (\\ud800)",
                                                            "not UTF-8",
                                                            "a JSON value that is no object",
                                                            "no such key",
                                                            "the text is no string"};

/// The reason, without the file and line.
class BadLineError : public std::runtime_error {
 public:
  BadLineError(BadLine kind, const std::string& reason) : std::runtime_error(reason), kind_(kind) {}
  BadLine kind() const { return kind_; }

 private:
  BadLine kind_;
};

/// The string under `key` of the JSON object in `line`. Throws BadLineError.
std::string json_text(std::string_view line, const std::string& key);

/// `text` as a JSON string with its quotes; what is not UTF-8 becomes U+FFFD.
std::string json_string(std::string_view text);

}  // namespace espalier::io
