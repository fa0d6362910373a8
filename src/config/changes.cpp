#include "config/changes.hpp"

#include <fmt/core.h>

#include <algorithm>

#include "base/error.hpp"

namespace espalier::config {
namespace {

/// The keys of every table that differ and are of the class.
template <class IsWanted>
std::vector<Change> changes_that(const Parameters& before, const Parameters& now,
                                 IsWanted&& is_wanted) {
  std::vector<Change> found;
  Parameters::tables(
      now, [&]<class Table>(std::string_view name, std::string_view, const Table& values) {
        // The table of the same type; every type is that of one table.
        Parameters::tables(
            before, [&]<class Other>(std::string_view, std::string_view, const Other& others) {
              if constexpr (std::is_same_v<Table, Other>)
                for (Change& change : changes(name, others, values))
                  if (is_wanted(change)) found.push_back(std::move(change));
            });
      });
  return found;
}

bool is_of_function(const Change& change, const ModelParameters& before,
                    const ModelParameters& now) {
  if (change.what != Changes::function && change.what != Changes::shapes) return false;
  constexpr std::string_view kModel = "model.";
  if (!change.key.starts_with(kModel)) return true;
  const std::string_view name = std::string_view(change.key).substr(kModel.size());
  return key_has_meaning(before, name) || key_has_meaning(now, name);
}

}  // namespace

std::string describe(const std::vector<Change>& changes) {
  std::string text;
  for (const Change& change : changes)
    text += fmt::format("{}  {} = {} (was {})", text.empty() ? "" : "\n", change.key, change.now,
                        change.before);
  return text;
}

Changes class_of(std::string_view key) {
  Changes found = Changes::undeclared;
  const Parameters defaults;
  Parameters::tables(defaults, [&](std::string_view table, std::string_view, const auto& values) {
    if (!key.starts_with(table) || key.substr(table.size()).substr(0, 1) != ".") return;
    const std::string_view name = key.substr(table.size() + 1);
    std::decay_t<decltype(values)>::describe(values, [&](const Field& field, const auto&) {
      if (field.name == name) found = field.changes;
    });
  });
  return found;
}

std::vector<Change> changes_of_model(const ModelParameters& before, const ModelParameters& now) {
  std::vector<Change> found = changes("model", before, now);
  std::erase_if(found, [&](const Change& change) { return !is_of_function(change, before, now); });
  return found;
}

std::vector<Change> changes_of_function(const Parameters& before, const Parameters& now) {
  return changes_that(before, now, [&](const Change& change) {
    return is_of_function(change, before.model, now.model);
  });
}

std::vector<Change> changes_of_course(const Parameters& before, const Parameters& now) {
  return changes_that(before, now, [&](const Change& change) {
    // A limit that people set (max_position_embeddings), or a size of blocks that the model has
    // none of, is no part of the function, and told.
    const bool could_be = change.what == Changes::function || change.what == Changes::shapes;
    const bool is_of_no_function = could_be && !is_of_function(change, before.model, now.model);
    return change.what == Changes::course || is_of_no_function;
  });
}

std::vector<Change> changes_of_start(const Parameters& before, const Parameters& now) {
  return changes_that(before, now,
                      [](const Change& change) { return change.what == Changes::start; });
}

void require_allowed(const std::vector<Change>& changes, std::span<const std::string> allowed,
                     const std::string& whose) {
  std::vector<Change> of_shapes;
  std::vector<std::string> keys;
  bool all_allowed = true;
  for (const Change& change : changes) {
    keys.push_back(change.key);
    if (change.what == Changes::shapes) of_shapes.push_back(change);
    all_allowed =
        all_allowed && std::find(allowed.begin(), allowed.end(), change.key) != allowed.end();
  }
  if (all_allowed && of_shapes.empty()) return;
  std::string shapes;
  for (const Change& change : of_shapes)
    shapes += fmt::format("{}{}", shapes.empty() ? "" : ", ", change.key);
  const std::string remedy =
      of_shapes.empty()
          ? fmt::format(
                " To go on with these weights in the new function, set "
                "checkpoint.allow_changes = {}",
                toml_value(keys))
          : fmt::format(" The weights do not fit the new {}, which nothing can allow", shapes);
  throw Error(ExitStatus::bad_configuration,
              fmt::format("{}:\n{}\nSet the old values again, or output.directory to another "
                          "folder for a new run.{}",
                          whose, describe(changes), remedy),
              Met::by_every_rank);
}

}  // namespace espalier::config
