#pragma once
#include <cstdint>
#include <limits>
#include <string>
#include <string_view>
#include <vector>

namespace espalier::config {

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
};

// The types a parameter may have: bool, std::int64_t, double, std::string,
// std::vector<std::string>.

}  // namespace espalier::config
