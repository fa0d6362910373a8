#include "config/field.hpp"

#include <fmt/core.h>

#include <algorithm>
#include <cmath>

#include "base/text.hpp"

namespace espalier::config {
namespace {

/// A bound as a person writes it: whole numbers without exponent as long as that stays readable.
std::string bound_text(double bound) {
  if (bound == std::floor(bound) && std::abs(bound) < 1e15) return fmt::format("{:.0f}", bound);
  return fmt::format("{}", bound);
}

std::string joined(const std::vector<std::string_view>& words, std::string_view last_separator) {
  std::string text;
  for (std::size_t i = 0; i < words.size(); ++i) {
    if (i > 0) text += i + 1 == words.size() ? last_separator : ", ";
    text += words[i];
  }
  return text;
}

template <class T>
std::string list_value(const std::vector<T>& value) {
  std::string text = "[";
  for (std::size_t i = 0; i < value.size(); ++i) {
    if (i > 0) text += ", ";
    text += toml_value(value[i]);
  }
  return text + "]";
}

/// Of the first item that is wrong.
template <class T>
std::string list_violation(const Field& field, const std::vector<T>& value) {
  for (const T& item : value)
    if (std::string problem = violation(field, item); !problem.empty()) return problem;
  return {};
}

std::string range_violation(const Field& field, double value) {
  if (std::isnan(value)) return "must be a number, not nan";
  if (value >= field.min && value <= field.max && std::isfinite(value)) return {};
  const std::string allowed = allowed_values(field);
  if (allowed.empty()) return "must be finite";
  const bool is_interval = std::isfinite(field.min) && std::isfinite(field.max);
  return (is_interval ? "must be in the range " : "must be ") + allowed;
}

}  // namespace

std::string toml_value(bool value) {
  return value ? "true" : "false";
}

std::string toml_value(std::int64_t value) {
  return std::to_string(value);
}

std::string toml_value(double value) {
  std::string text = fmt::format("{}", value);  // the shortest text that reads back as `value`
  if (text.find_first_of(".einf") == std::string::npos) text += ".0";  // TOML: else an integer
  return text;
}

std::string toml_value(const std::string& value) {
  std::string text = "\"";
  for (const char c : value) {
    switch (c) {
      case '"':
        text += "\\\"";
        break;
      case '\\':
        text += "\\\\";
        break;
      case '\n':
        text += "\\n";
        break;
      case '\t':
        text += "\\t";
        break;
      default:
        if (static_cast<unsigned char>(c) < 0x20 || c == 0x7F)
          text += fmt::format("\\u{:04X}", static_cast<unsigned>(c));
        else
          text += c;
    }
  }
  return text + "\"";
}

std::string toml_value(const std::vector<std::string>& value) {
  return list_value(value);
}
std::string toml_value(const std::vector<std::int64_t>& value) {
  return list_value(value);
}

std::string_view type_name(bool) {
  return "boolean";
}
std::string_view type_name(std::int64_t) {
  return "integer";
}
std::string_view type_name(double) {
  return "number";
}
std::string_view type_name(const std::string&) {
  return "string";
}
std::string_view type_name(const std::vector<std::string>&) {
  return "list of strings";
}
std::string_view type_name(const std::vector<std::int64_t>&) {
  return "list of integers";
}

std::string allowed_values(const Field& field) {
  if (!field.choices.empty()) return joined(field.choices, " or ");
  const bool below = std::isfinite(field.min), above = std::isfinite(field.max);
  if (below && above && field.min == field.max) return bound_text(field.min);
  if (below && above) return fmt::format("{} to {}", bound_text(field.min), bound_text(field.max));
  if (below) return fmt::format("at least {}", bound_text(field.min));
  if (above) return fmt::format("at most {}", bound_text(field.max));
  return {};
}

std::string violation(const Field&, bool) {
  return {};
}
std::string violation(const Field& field, std::int64_t value) {
  return range_violation(field, static_cast<double>(value));
}
std::string violation(const Field& field, double value) {
  return range_violation(field, value);
}

std::string violation(const Field& field, const std::string& value) {
  const auto& choices = field.choices;
  if (choices.empty() || std::find(choices.begin(), choices.end(), value) != choices.end())
    return {};
  const std::vector<std::string> names(choices.begin(), choices.end());
  const std::string near = nearest_name(value, names);
  return fmt::format("must be {}{}", allowed_values(field),
                     near.empty() ? "" : fmt::format("; did you mean \"{}\"?", near));
}

std::string violation(const Field& field, const std::vector<std::string>& value) {
  return list_violation(field, value);
}
std::string violation(const Field& field, const std::vector<std::int64_t>& value) {
  return list_violation(field, value);
}

}  // namespace espalier::config
