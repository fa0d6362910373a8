#pragma once
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "config/parameters.hpp"

namespace espalier::config {

// Two inputs of one run: the one that a checkpoint was written with, and the one that continues it.
// What a difference means stands beside each key (Field::changes). An input that was written before
// a key was there has the key's default, which is what the program did then.

/// A key whose value differs between two inputs; the values as TOML writes them.
struct Change {
  std::string key;  ///< "training.steps"
  std::string before, now;
  Changes what = Changes::undeclared;
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
      found.push_back({std::string(table) + "." + std::string(field.name), *old, std::move(own),
                       field.changes});
    ++old;
  });
  return found;
}

/// A line per change: "  training.steps = 40 (was 20)".
std::string describe(const std::vector<Change>& changes);

/// What the key "model.rope_theta" says of itself; undeclared also when there is no such key.
Changes class_of(std::string_view key);

/// The keys in which the weights of one model do not mean the same in the other: shapes, and
/// everything of the function. Both are resolved. A key that has no meaning for the family or the
/// type of RoPE of either is left out.
std::vector<Change> changes_of_model(const ModelParameters& before, const ModelParameters& now);
/// The same of whole inputs: also the precision that the weights are rounded to.
std::vector<Change> changes_of_function(const Parameters& before, const Parameters& now);
/// The keys that change the course of a run and not its function.
std::vector<Change> changes_of_course(const Parameters& before, const Parameters& now);
/// The keys that say how a run begins, and have no effect on one that is continued.
std::vector<Change> changes_of_start(const Parameters& before, const Parameters& now);

/// Throws Error (bad_configuration, met by every rank) when a key is not in `allowed`, or is one
/// that nobody can allow because tensors would have other shapes; its message begins with `whose`
/// and has all keys with both values and what to do.
void require_allowed(const std::vector<Change>& changes, std::span<const std::string> allowed,
                     const std::string& whose);

}  // namespace espalier::config
