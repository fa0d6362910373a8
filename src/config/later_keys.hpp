#pragma once
#include <string_view>

#include "config/problems.hpp"

namespace espalier::config {

/// Keys that are declared, so that inputs and checkpoints will not change when what they ask for
/// comes, and that the program does not heed yet. Help and dumps leave them out.
bool comes_later(std::string_view table, std::string_view key);

/// Adds a problem for each of them that is set to something else than its default.
void refuse_later_keys(const Parameters& parameters, Problems& problems);

}  // namespace espalier::config
