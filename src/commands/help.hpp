#pragma once
#include <span>
#include <string>

namespace espalier::commands {

/// The page for `espalier help <topics>`: nothing, a command, "parameters", or "parameters" and a
/// table. Throws Error (usage, met by every rank) for another topic, naming the nearest.
std::string help_page(std::span<const std::string> topics);

}  // namespace espalier::commands
