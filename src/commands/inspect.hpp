#pragma once
#include <string>

namespace espalier::commands {

/// `espalier inspect <path>`: prints what a checkpoint folder, a directory of checkpoints (its
/// newest) or a token shard holds, and checks its checksums. Throws Error (bad_data) for anything
/// that is neither, or damaged.
void inspect(const std::string& path);

}  // namespace espalier::commands
