#include "config/reference.hpp"

#include <fmt/core.h>

#include <algorithm>

#include "base/error.hpp"
#include "base/text.hpp"
#include "config/parameters.hpp"

namespace espalier::config {
namespace {

constexpr std::size_t kColumns = 100;

/// Appends `text` broken at spaces to kColumns, every line indented by `indent`.
void append_wrapped(std::string& page, std::string_view text, std::size_t indent) {
  const std::size_t width = kColumns - indent;
  while (!text.empty()) {
    std::size_t end = text.size();
    if (end > width) {
      end = text.rfind(' ', width);
      if (end == std::string_view::npos || end == 0) end = std::min(text.find(' '), text.size());
    }
    page += std::string(indent, ' ');
    page += text.substr(0, end);
    page += '\n';
    text.remove_prefix(std::min(end + 1, text.size()));
  }
}

struct Entry {
  std::string name, type, initial, unit, allowed, meaning;
};

std::string page_of(std::string_view table, std::string_view purpose,
                    const std::vector<Entry>& entries) {
  std::size_t name_width = 0, type_width = 0, initial_width = 0, unit_width = 0;
  for (const Entry& entry : entries) {
    name_width = std::max(name_width, entry.name.size());
    type_width = std::max(type_width, entry.type.size());
    initial_width = std::max(initial_width, entry.initial.size());
    unit_width = std::max(unit_width, entry.unit.size());
  }
  std::string page = fmt::format("[{}]  {}\n", table, purpose);
  for (const Entry& entry : entries) {
    std::string line =
        fmt::format("  {:<{}}  {:<{}}  {:<{}}  {:<{}}  ", entry.name, name_width, entry.type,
                    type_width, entry.initial, initial_width, entry.unit, unit_width);
    const bool fits = line.size() + entry.allowed.size() <= kColumns;
    if (fits) line += entry.allowed;
    line.erase(line.find_last_not_of(' ') + 1);
    page += line + "\n";
    append_wrapped(page, fits ? entry.meaning : entry.allowed + "; " + entry.meaning, 6);
  }
  return page;
}

template <class Value>
inline constexpr bool kIsStructList = false;
template <Described T>
inline constexpr bool kIsStructList<std::vector<T>> = true;

/// The keys of a table and, behind a list of tables, those of its entries ("sources.weight").
template <class Table>
std::vector<Entry> entries_of(const Table& defaults, const std::string& prefix = "") {
  std::vector<Entry> entries;
  Table::describe(defaults, [&]<class Value>(const Field& field, const Value& value) {
    entries.push_back({.name = prefix + std::string(field.name),
                       .type = std::string(type_name(value)),
                       .initial = toml_value(value),
                       .unit = std::string(field.unit),
                       .allowed = allowed_values(field),
                       .meaning = std::string(field.meaning)});
    if constexpr (kIsStructList<Value>)
      for (Entry& entry : entries_of(typename Value::value_type(), std::string(field.name) + "."))
        entries.push_back(std::move(entry));
  });
  return entries;
}

}  // namespace

std::vector<std::string> table_names() {
  std::vector<std::string> names;
  const Parameters defaults;
  Parameters::tables(defaults, [&](std::string_view table, std::string_view, const auto&) {
    names.emplace_back(table);
  });
  return names;
}

std::vector<std::string> key_names() {
  std::vector<std::string> names;
  const Parameters defaults;
  Parameters::tables(defaults, [&](std::string_view table, std::string_view, const auto& values) {
    std::decay_t<decltype(values)>::describe(values, [&](const Field& field, const auto&) {
      names.push_back(fmt::format("{}.{}", table, field.name));
    });
  });
  return names;
}

std::string reference_page(std::string_view wanted) {
  const Parameters defaults;
  std::string page;
  Parameters::tables(defaults,
                     [&](std::string_view table, std::string_view purpose, const auto& values) {
                       if (!wanted.empty() && wanted != table) return;
                       const std::vector<Entry> entries = entries_of(values);
                       if (entries.empty()) return;
                       if (!page.empty()) page += "\n";
                       page += page_of(table, purpose, entries);
                     });
  if (!page.empty()) return page;

  const std::string near = nearest_name(wanted, table_names());
  throw Error(ExitStatus::usage,
              fmt::format("there is no table [{}]{}", wanted,
                          near.empty() ? "; `espalier help parameters` prints all of them"
                                       : fmt::format("; did you mean [{}]?", near)),
              Met::by_every_rank);
}

}  // namespace espalier::config
