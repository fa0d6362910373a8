#include "io/json_text.hpp"

#include <fmt/core.h>

#include <nlohmann/json.hpp>

namespace espalier::io {

namespace {

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

}  // namespace

std::string json_text(std::string_view line, const std::string& key) {
  nlohmann::json object;
  try {
    object = nlohmann::json::parse(line);
  } catch (const nlohmann::json::parse_error& error) {
    // "[json.exception.parse_error.101] parse error at line 1, column 7: ...": the column and what
    // follows are for the reader, the library's own name is not.
    const std::string_view text = error.what();
    const auto column = text.find("column");
    const BadLine kind = kind_of(text);
    throw BadLineError(kind, fmt::format("{}: {}", kBadLineNames[static_cast<std::size_t>(kind)],
                                         column == text.npos ? text : text.substr(column)));
  }
  if (!object.is_object())
    throw BadLineError(
        BadLine::not_an_object,
        fmt::format("a JSON {} where an object is expected, one per line{}", object.type_name(),
                    object.is_array() ? " (jq -c '.[]' makes JSON lines of an array)" : ""));
  const auto found = object.find(key);
  if (found == object.end()) {
    std::string keys;
    for (const auto& item : object.items()) keys += (keys.empty() ? "" : ", ") + item.key();
    throw BadLineError(BadLine::no_such_key,
                       fmt::format("no key \"{}\" (there is: {}). Set tokenize.text_key", key,
                                   keys.empty() ? "nothing" : keys));
  }
  if (!found->is_string())
    throw BadLineError(BadLine::not_a_string,
                       fmt::format("the value of \"{}\" is a {}, not a string. Set "
                                   "tokenize.text_key",
                                   key, found->type_name()));
  return std::move(found->get_ref<std::string&>());
}

std::string json_string(std::string_view text) {
  using nlohmann::json;
  return json(text).dump(-1, ' ', false, json::error_handler_t::replace);
}

}  // namespace espalier::io
