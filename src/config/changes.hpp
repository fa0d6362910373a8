#pragma once
#include <string>
#include <string_view>
#include <vector>

#include "config/parameters.hpp"

namespace espalier::config {

/// A key whose value differs between two inputs; the values as TOML writes them.
struct Change {
  std::string key;  ///< "training.steps"
  std::string before, now;
};

/// The keys of `table` in which two inputs differ, in declaration order.
template <class Table>
std::vector<Change> changes(std::string_view table, const Table& before, const Table& now) {
  std::vector<std::string> values;
  Table::describe(before,
                  [&](const Field&, const auto& value) { values.push_back(toml_value(value)); });
  std::vector<Change> found;
  auto old = values.begin();
  Table::describe(now, [&](const Field& field, const auto& value) {
    std::string own = toml_value(value);
    if (own != *old)
      found.push_back({std::string(table) + "." + std::string(field.name), *old, std::move(own)});
    ++old;
  });
  return found;
}

/// A line per change: "  training.steps = 40 (was 20)".
std::string describe(const std::vector<Change>& changes);

}  // namespace espalier::config
