#pragma once
#include <string>

namespace espalier::commands {

/// "espalier 0.1.0 (1a2b3c4)"
std::string version_line();

/// Version, git revision, compiler and libraries, a line each: `espalier --version`, the banner and
/// every checkpoint.
std::string build_description();

/// The levels that this processor runs, lowest first: "portable, avx2 on this processor".
std::string simd_levels_here();

}  // namespace espalier::commands
