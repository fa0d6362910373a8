#pragma once
#include <string>
#include <string_view>
#include <vector>

namespace espalier::config {

/// Names of the tables, in order of declaration.
std::vector<std::string> table_names();

/// Full names ("training.steps") of every key, in order of declaration.
std::vector<std::string> key_names();

/// The reference page: every key of `table` (empty: of all tables) with type, default, unit,
/// allowed values and meaning, aligned, at most 100 columns. Throws Error (usage, met by every
/// rank) when there is no such table, naming the nearest.
std::string reference_page(std::string_view table = {});

}  // namespace espalier::config
