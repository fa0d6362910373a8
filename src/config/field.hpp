#pragma once
#include <cstdint>
#include <limits>
#include <string>
#include <string_view>
#include <vector>

namespace espalier::config {

/// What a parameter changes in a run that a checkpoint continues, when its value is not the one
/// that the checkpoint was written with. The restart reads it (config/changes.hpp).
enum class Changes {
  undeclared,  ///< nothing said, and so as nothing; keys of [model], [training], [optimizer],
               ///< [schedule] and [data] say one of the others
  nothing,     ///< nothing that the run computes: may change, is not told
  start,       ///< how a new run begins: without effect, and told
  course,      ///< the course of the run from here on: may change, is told with both values
  function,    ///< what the weights compute: refused, unless checkpoint.allow_changes names it
  shapes,      ///< the tensors' shapes: refused
};

/// What is said of a parameter once: parsing, overrides, range checks, `help parameters`, the
/// resolved dump in checkpoints and the log header come from it. The default is the member's
/// initialiser.
struct Field {
  std::string_view name;
  std::string_view unit = {};                             ///< "tokens", "s", ...; empty: none
  std::string_view meaning = {};                          ///< one sentence
  double min = -std::numeric_limits<double>::infinity();  ///< numbers: inclusive
  double max = std::numeric_limits<double>::infinity();
  std::vector<std::string_view> choices = {};  ///< strings: the allowed values; empty: any
  bool is_path = false;  ///< strings: of files or folders; a leading ~ means a home directory
  Changes changes = Changes::undeclared;
};

// The types a parameter may have: bool, std::int64_t, double, std::string,
// std::vector<std::string>, std::vector<std::int64_t>. Each has an overload of the functions below.

/// The value as TOML writes it; reading it back gives the same bits.
std::string toml_value(bool value);
std::string toml_value(std::int64_t value);
std::string toml_value(double value);
std::string toml_value(const std::string& value);
std::string toml_value(const std::vector<std::string>& value);
std::string toml_value(const std::vector<std::int64_t>& value);

/// "boolean", "integer", "number", "string", "list of strings", "list of integers".
std::string_view type_name(bool);
std::string_view type_name(std::int64_t);
std::string_view type_name(double);
std::string_view type_name(const std::string&);
std::string_view type_name(const std::vector<std::string>&);
std::string_view type_name(const std::vector<std::int64_t>&);

/// What a field allows, for people: "1 to 65536", "at least 0", "bfloat16 or float32"; empty: any.
std::string allowed_values(const Field& field);

/// Why the field does not allow the value ("must be at least 1"); empty when it does.
std::string violation(const Field& field, bool value);
std::string violation(const Field& field, std::int64_t value);
std::string violation(const Field& field, double value);
std::string violation(const Field& field, const std::string& value);
std::string violation(const Field& field, const std::vector<std::string>& value);
std::string violation(const Field& field, const std::vector<std::int64_t>& value);

}  // namespace espalier::config
