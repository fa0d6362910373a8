#include "config/later_keys.hpp"

#include <fmt/core.h>

#include <algorithm>
#include <array>
#include <string>
#include <type_traits>

#include "config/changes.hpp"

namespace espalier::config {
namespace {

constexpr std::array<std::string_view, 5> kLaterKeys = {
    "bench.ranks", "run.audit_interval", "checkpoint.stripe_count", "bench.scaling", "bench.plot",
};

bool is_later(std::string_view key) {
  return std::find(kLaterKeys.begin(), kLaterKeys.end(), key) != kLaterKeys.end();
}

}  // namespace

bool comes_later(std::string_view table, std::string_view key) {
  return is_later(fmt::format("{}.{}", table, key));
}

void refuse_later_keys(const Parameters& parameters, Problems& problems) {
  Parameters::tables(parameters, [&](std::string_view table, std::string_view, const auto& values) {
    for (const Change& change : changes(table, std::decay_t<decltype(values)>(), values))
      if (is_later(change.key))
        problems.add("{} = {} has no effect in this version yet: leave it out", change.key,
                     change.now);
  });
}

}  // namespace espalier::config
