#include "config/parameters.hpp"

#include <fmt/core.h>

#include <algorithm>
#include <array>

#include "base/error.hpp"
#include "config/changes.hpp"

namespace espalier::config {

bool is_of_plans(std::string_view table) {
  constexpr std::array<std::string_view, 6> kTables = {"plan",     "search",   "loss_law",
                                                       "hardware", "campaign", "fit"};
  return std::find(kTables.begin(), kTables.end(), table) != kTables.end();
}

std::string to_toml(const Parameters& parameters) {
  std::string text;
  Parameters::tables(parameters, [&](std::string_view table, std::string_view purpose,
                                     const auto& values) {
    // With nothing in it, it is left out of what a run prints and keeps.
    if ((is_of_plans(table) || table == "verify" || table == "inspect") &&
        changes(table, std::decay_t<decltype(values)>(), values).empty())
      return;
    if (!text.empty()) text += "\n";
    text += fmt::format("[{}]  # {}\n", table, purpose);
    std::decay_t<decltype(values)>::describe(values, [&](const Field& field, const auto& value) {
      // Were it a key, whoever reads this dump (another rank, a restart on another machine) would
      // look for the file, although its keys stand below.
      if (field.name == "file" && (table == "model" || table == "loss_law")) {
        const std::string& file =
            table == "model" ? parameters.model.file : parameters.loss_law.file;
        if (!file.empty()) text += fmt::format("# from the {} file {}\n", table, toml_value(file));
        return;
      }
      // Only a size that is not set (0) is outside its own range; the reader would refuse it.
      const char* mark = violation(field, value).empty() ? "" : "# not set: ";
      text += fmt::format("{}{} = {}\n", mark, field.name, toml_value(value));
    });
  });
  return text;
}

}  // namespace espalier::config
