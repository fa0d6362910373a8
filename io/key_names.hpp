#pragma once
#include <string>

// What to say of names in an input that are none of config::Parameters, with the name that was
// probably meant.

namespace espalier::io {

bool is_table_name(const std::string& name);

/// "unknown key training.stepz; did you mean training.steps?"
std::string unknown_key(const std::string& table, const std::string& key);
std::string unknown_table(const std::string& name);
std::string key_outside_table(const std::string& key);

}  // namespace espalier::io
