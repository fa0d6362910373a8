#pragma once
#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "config/parameters.hpp"
#include "io/run_lock.hpp"
#include "parallel/comm/session.hpp"

namespace espalier::train {

// Whether what a run reads is there, and where it writes is free: before anything is made.

/// A sentence for each tokenizer, shard or folder of shards that the input names and that is not
/// there: `data.train = "shards" is not there`.
std::vector<std::string> missing_inputs(const config::Parameters& parameters);
/// Throws Error (bad_data, met by every rank) with those sentences.
void require_inputs(const config::Parameters& parameters);

/// Makes sure that files can be created in the directory or, when it does not exist yet, in the
/// nearest folder above it. Leaves nothing behind. Throws Error (io_error).
void require_writable(const std::filesystem::path& directory);

/// On rank 0 the lock of the run directory, else null. Collective: all ranks meet its error, or
/// that of inputs which are missing, before anything is made.
std::unique_ptr<io::RunLock> lock_run_directory(parallel::MpiSession& session,
                                                const config::Parameters& parameters);

}  // namespace espalier::train
