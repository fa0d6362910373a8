#pragma once
#include <string>

// What to say of names in an input that are none of Parameters, with the name that was probably
// meant, or where the names are listed.

namespace espalier::config {

/// Whether Parameters has a table `name`, as in [training].
bool is_table_name(const std::string& name);

/// The key that was probably meant by one that is none, "training.steps"; empty: no idea.
std::string meant_key(const std::string& table, const std::string& key);
/// The table that was probably meant, "training"; empty: no idea.
std::string meant_table(const std::string& name);

/// "unknown key training.stepz; did you mean training.steps?"
std::string unknown_key(const std::string& table, const std::string& key);
/// "unknown table [trianing]; did you mean [training]?"
std::string unknown_table(const std::string& name);
/// Of a key before the first table: "key steps is outside a table; did you mean training.steps?"
std::string key_outside_table(const std::string& key);

}  // namespace espalier::config
