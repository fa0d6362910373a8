#include "config/changes.hpp"

#include <fmt/core.h>

namespace espalier::config {

std::string describe(const std::vector<Change>& changes) {
  std::string text;
  for (const Change& change : changes)
    text += fmt::format("{}  {} = {} (was {})", text.empty() ? "" : "\n", change.key, change.now,
                        change.before);
  return text;
}

}  // namespace espalier::config
