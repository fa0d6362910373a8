#pragma once
#include <filesystem>

#include "commands/convert_target.hpp"
#include "parallel/comm/session.hpp"

namespace espalier::commands {

/// Makes `target` a copy of the checkpoint `source`, in one file: a run continues from it as from
/// the source, bit for bit. Without moments it holds weights alone. The ranks share the tensors;
/// each needs the memory of the largest shard. Collective. Throws Error (bad_data): the source is
/// damaged; (io_error).
void copy_checkpoint(parallel::MpiSession& session, const std::filesystem::path& source,
                     ConvertTarget& target, bool with_moments, bool dry_run);

}  // namespace espalier::commands
