#include "config/parameters.hpp"

#include <fmt/core.h>

#include "base/error.hpp"

namespace espalier::config {

std::string to_toml(const Parameters& parameters) {
  std::string text;
  Parameters::tables(parameters, [&](std::string_view table, std::string_view purpose,
                                     const auto& values) {
    if (!text.empty()) text += "\n";
    text += fmt::format("[{}]  # {}\n", table, purpose);
    std::decay_t<decltype(values)>::describe(values, [&](const Field& field, const auto& value) {
      // Were it a key, whoever reads this dump (another rank, a restart on another machine) would
      // look for the file, although its keys stand below.
      if (table == "model" && field.name == "file") {
        if (!parameters.model.file.empty())
          text += fmt::format("# from the model file {}\n", toml_value(parameters.model.file));
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
