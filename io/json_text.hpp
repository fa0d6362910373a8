#pragma once
#include <cstdint>
#include <memory>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

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

/// What is taken from a line. A name means the key that is spelt so; where there is none, dots
/// divide it into keys of objects in objects ("meta.text"). Of equal keys the last one counts.
struct JsonKeys {
  std::vector<std::string> text = {"text"};  ///< several: those not empty, joined by a newline
  std::string source = {};                   ///< of the value that names the source; empty: none
};

/// Reads lines that hold a JSON object each, all of which must be valid: simdjson's tree parser
/// makes the pass, and a line that it does not take goes to nlohmann's, which knows what is wrong.
class JsonLineReader {
 public:
  explicit JsonLineReader(JsonKeys keys);
  ~JsonLineReader();
  JsonLineReader(JsonLineReader&&) noexcept;
  JsonLineReader& operator=(JsonLineReader&&) noexcept;
  /// Sets `text`, and `source` to the string under keys.source; empty where that is missing or no
  /// string. Throws BadLineError.
  void read(std::string_view line, std::string& text, std::string& source);

 private:
  struct Implementation;
  std::unique_ptr<Implementation> implementation_;
};

/// The text of one line. Throws BadLineError.
std::string json_text(std::string_view line, const std::vector<std::string>& keys);

/// `text` as a JSON string with its quotes; what is not UTF-8 becomes U+FFFD.
std::string json_string(std::string_view text);

}  // namespace espalier::io
