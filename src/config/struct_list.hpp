#pragma once
#include <string>
#include <string_view>
#include <vector>

#include "config/field.hpp"

namespace espalier::config {

/// A struct that describes its members as the tables of the input do: a parameter may be a list of
/// them, which TOML writes as [[table.name]] or as a list of inline tables.
template <class T>
concept Described = requires(T& value) {
  T::describe(value, [](const Field&, auto&) {});
};

template <Described T>
std::string toml_value(const std::vector<T>& values) {
  std::string text;
  for (const T& item : values) {
    std::string members;
    T::describe(item, [&](const Field& field, const auto& value) {
      members += members.empty() ? "" : ", ";
      members += std::string(field.name) + " = " + toml_value(value);
    });
    text += (text.empty() ? "{" : ", {") + members + "}";
  }
  return "[" + text + "]";
}

template <Described T>
std::string_view type_name(const std::vector<T>&) {
  return "list of tables";
}

template <Described T>
std::string violation(const Field&, const std::vector<T>& values) {
  std::string wrong;
  std::size_t number = 0;
  for (const T& item : values) {
    ++number;
    T::describe(item, [&](const Field& field, const auto& value) {
      const std::string member = violation(field, value);
      if (wrong.empty() && !member.empty())
        wrong = "has " + std::string(field.name) + " = " + toml_value(value) + " in entry " +
                std::to_string(number) + ", which " + member;
    });
  }
  return wrong;
}

}  // namespace espalier::config
