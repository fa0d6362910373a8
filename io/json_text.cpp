#include "io/json_text.hpp"

#include <fmt/core.h>
#include <simdjson.h>

#include <cstring>
#include <nlohmann/json.hpp>
#include <optional>

namespace espalier::io {

namespace {

namespace dom = simdjson::dom;

/// The kind of a parse error by the library's message, which is all that it tells.
BadLine kind_of(std::string_view message) {
  const auto has = [&](std::string_view words) { return message.find(words) != message.npos; };
  if (has("surrogate U+")) return BadLine::lone_surrogate;
  if (has("UTF-8")) return BadLine::not_utf8;
  // "...; last read: '... N'": the literal is given up at its first letter.
  const std::size_t quote = message.rfind('\'');
  const bool ends_as_number = quote != message.npos && quote > 0 &&
                              (message[quote - 1] == 'N' || message[quote - 1] == 'I') &&
                              (has("invalid literal") || has("invalid number"));
  return ends_as_number ? BadLine::not_a_number : BadLine::not_json;
}

/// Texts of a document are joined by a newline, those that are empty left out.
void append_text(std::string_view text, std::string& document) {
  if (!document.empty() && !text.empty()) document += '\n';
  document += text;
}

// The exact way, for every line there is ----------------------------------------------------------

const nlohmann::json* member(const nlohmann::json& object, const std::string& key) {
  if (!object.is_object()) return nullptr;
  const auto found = object.find(key);
  return found == object.end() ? nullptr : &*found;
}

const nlohmann::json* find_value(const nlohmann::json& object, const std::string& name) {
  if (const nlohmann::json* value = member(object, name)) return value;
  const nlohmann::json* value = &object;
  for (std::size_t at = 0; value != nullptr && at <= name.size();) {
    const std::size_t dot = std::min(name.find('.', at), name.size());
    value = member(*value, name.substr(at, dot - at));
    at = dot + 1;
  }
  return value;
}

nlohmann::json parse_exactly(std::string_view line) {
  try {
    return nlohmann::json::parse(line);
  } catch (const nlohmann::json::exception& error) {
    // "[json.exception.parse_error.101] parse error at line 1, column 7: ...": the column and what
    // follows are for the reader, the library's own name is not.
    const std::string_view text = error.what();
    const auto column = text.find("column");
    const auto name_end = text.find("] ");
    const BadLine kind = kind_of(text);
    throw BadLineError(kind, fmt::format("{}: {}", kBadLineNames[static_cast<std::size_t>(kind)],
                                         column != text.npos     ? text.substr(column)
                                         : name_end != text.npos ? text.substr(name_end + 2)
                                                                 : text));
  }
}

/// "an array", as a sentence has it.
std::string kind_of_value(const nlohmann::json& value) {
  if (value.is_null()) return "null";
  if (value.is_boolean()) return value.get<bool>() ? "true" : "false";
  return fmt::format("{} {}", value.is_structured() ? "an" : "a", value.type_name());
}

void read_exactly(std::string_view line, const JsonKeys& keys, std::string& text,
                  std::string& source) {
  const nlohmann::json object = parse_exactly(line);
  if (!object.is_object())
    throw BadLineError(
        BadLine::not_an_object,
        fmt::format("a JSON {} where an object is expected, one per line{}", object.type_name(),
                    object.is_array() ? " (jq -c '.[]' makes JSON lines of an array)" : ""));
  text.clear();
  for (const std::string& key : keys.text) {
    const nlohmann::json* found = find_value(object, key);
    if (found == nullptr) {
      std::string present;
      for (const auto& item : object.items()) present += (present.empty() ? "" : ", ") + item.key();
      throw BadLineError(BadLine::no_such_key,
                         fmt::format("no key \"{}\" (there is: {}). Set tokenize.text_key", key,
                                     present.empty() ? "nothing" : present));
    }
    if (!found->is_string())
      throw BadLineError(BadLine::not_a_string,
                         fmt::format("the value of \"{}\" is {}, not a string. Set "
                                     "tokenize.text_key",
                                     key, kind_of_value(*found)));
    append_text(found->get_ref<const std::string&>(), text);
  }
  source.clear();
  if (keys.source.empty()) return;
  const nlohmann::json* found = find_value(object, keys.source);
  if (found != nullptr && found->is_string()) source = found->get_ref<const std::string&>();
}

// The fast way, which answers for lines that are as they should be -------------------------------

/// The four hex digits of "\uXXXX" at `at`; nothing: there are none.
std::optional<unsigned> code_unit(std::string_view line, std::size_t at) {
  if (at + 6 > line.size() || line[at] != '\\' || line[at + 1] != 'u') return std::nullopt;
  unsigned value = 0;
  for (std::size_t i = at + 2; i < at + 6; ++i) {
    const char c = line[i];
    const int digit = c >= '0' && c <= '9'   ? c - '0'
                      : c >= 'a' && c <= 'f' ? c - 'a' + 10
                      : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                             : -1;
    if (digit < 0) return std::nullopt;
    value = 16 * value + static_cast<unsigned>(digit);
  }
  return value;
}

/// Whether no half of a surrogate pair is written alone: simdjson lets some of them pass.
bool has_whole_surrogates(std::string_view line) {
  for (std::size_t at = line.find('\\'); at != line.npos; at = line.find('\\', at)) {
    const std::optional<unsigned> unit = code_unit(line, at);
    if (!unit) {
      at += 2;  // another escape; what is wrong with it, the parser says
      continue;
    }
    at += 6;
    if (*unit < 0xD800 || *unit > 0xDFFF) continue;
    const std::optional<unsigned> second = code_unit(line, at);
    if (*unit > 0xDBFF || !second || *second < 0xDC00 || *second > 0xDFFF) return false;
    at += 6;
  }
  return true;
}

/// The last member of this key, as nlohmann's parser has it.
bool member(dom::element object, std::string_view key, dom::element& value) {
  dom::object members;
  if (object.get(members) != simdjson::SUCCESS) return false;
  bool found = false;
  for (const dom::key_value_pair item : members) {
    if (item.key != key) continue;
    value = item.value;
    found = true;
  }
  return found;
}

bool find_value(dom::element object, std::string_view name, dom::element& value) {
  if (member(object, name, value)) return true;
  if (name.find('.') == name.npos) return false;
  value = object;
  for (std::size_t at = 0; at <= name.size();) {
    const std::size_t dot = std::min(name.find('.', at), name.size());
    const dom::element inner = value;
    if (!member(inner, name.substr(at, dot - at), value)) return false;
    at = dot + 1;
  }
  return true;
}

/// Longer lines, which are rare, are not worth the parser's memory: some 12 bytes for each of
/// theirs.
constexpr std::size_t kLongestFastLine = std::size_t{1} << 25;

}  // namespace

struct JsonLineReader::Implementation {
  JsonKeys keys;
  dom::parser parser;
  std::string padded;

  /// False: the line is not as it should be, or another parser has to see.
  bool read_fast(std::string_view line, std::string& text, std::string& source) {
    if (line.size() > kLongestFastLine || !has_whole_surrogates(line)) return false;
    padded.resize(line.size() + simdjson::SIMDJSON_PADDING);
    std::memcpy(padded.data(), line.data(), line.size());
    std::memset(padded.data() + line.size(), ' ', simdjson::SIMDJSON_PADDING);
    dom::element object;
    if (parser.parse(padded.data(), line.size(), false).get(object) != simdjson::SUCCESS ||
        !object.is_object())
      return false;
    text.clear();
    dom::element value;
    std::string_view found;
    for (const std::string& key : keys.text) {
      if (!find_value(object, key, value) || value.get(found) != simdjson::SUCCESS) return false;
      append_text(found, text);
    }
    source.clear();
    if (!keys.source.empty() && find_value(object, keys.source, value) &&
        value.get(found) == simdjson::SUCCESS)
      source = found;
    return true;
  }
};

JsonLineReader::JsonLineReader(JsonKeys keys)
    : implementation_(std::make_unique<Implementation>()) {
  implementation_->keys = std::move(keys);
}
JsonLineReader::~JsonLineReader() = default;
JsonLineReader::JsonLineReader(JsonLineReader&&) noexcept = default;
JsonLineReader& JsonLineReader::operator=(JsonLineReader&&) noexcept = default;

void JsonLineReader::read(std::string_view line, std::string& text, std::string& source) {
  if (implementation_->read_fast(line, text, source)) return;
  read_exactly(line, implementation_->keys, text, source);
}

std::string json_text(std::string_view line, const std::vector<std::string>& keys) {
  std::string text, source;
  read_exactly(line, {.text = keys}, text, source);
  return text;
}

std::string json_string(std::string_view text) {
  using nlohmann::json;
  return json(text).dump(-1, ' ', false, json::error_handler_t::replace);
}

}  // namespace espalier::io
