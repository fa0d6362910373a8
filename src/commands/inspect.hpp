#pragma once
#include <string>

namespace espalier::commands {

/// Prints what `path` holds: a checkpoint folder, a directory of checkpoints or a run directory
/// (its newest checkpoint), a token shard (.h5), or a tokenizer (.json, .tiktoken). All checksums
/// are looked at. Throws Error (bad_data) for anything else, or damaged.
void inspect(const std::string& path);

}  // namespace espalier::commands
