#include "io/json_text.hpp"

#include <fmt/core.h>

#include <nlohmann/json.hpp>
#include <stdexcept>

namespace espalier::io {

std::string json_text(std::string_view line, const std::string& key) {
  nlohmann::json object;
  try {
    object = nlohmann::json::parse(line);
  } catch (const nlohmann::json::parse_error& error) {
    // "[json.exception.parse_error.101] parse error at line 1, column 7: ...": the column and what
    // follows are for the reader, the library's own name is not.
    const std::string_view text = error.what();
    const auto column = text.find("column");
    throw std::runtime_error(fmt::format("not one JSON object per line: {}",
                                         column == text.npos ? text : text.substr(column)));
  }
  if (!object.is_object())
    throw std::runtime_error(
        fmt::format("a JSON {} where an object is expected, one per line", object.type_name()));
  const auto found = object.find(key);
  if (found == object.end()) {
    std::string keys;
    for (const auto& item : object.items()) keys += (keys.empty() ? "" : ", ") + item.key();
    throw std::runtime_error(fmt::format("no key \"{}\" (there is: {}). Set tokenize.text_key", key,
                                         keys.empty() ? "nothing" : keys));
  }
  if (!found->is_string())
    throw std::runtime_error(
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
