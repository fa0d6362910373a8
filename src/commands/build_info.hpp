#pragma once
#include <string>

namespace espalier::commands {

/// "espalier 0.1.0 (1a2b3c4)"
std::string version_line();

/// Version, git revision, compiler and libraries, a line each: `espalier --version`, the banner and
/// every checkpoint.
std::string build_description();

}  // namespace espalier::commands
