#pragma once
#include <filesystem>
#include <functional>
#include <string>
#include <vector>

#include "parallel/comm/session.hpp"

namespace espalier::train {

// Which checkpoint a run goes on from when the newest one is damaged.

/// A checkpoint that was passed over.
struct DamagedCheckpoint {
  std::filesystem::path path;
  std::string why;
};

/// The complete checkpoints of a directory up to `last_step`, the newest first. Rank 0 looks, every
/// rank gets the answer. Collective.
std::vector<std::filesystem::path> whole_checkpoints(parallel::MpiSession& session,
                                                     const std::filesystem::path& directory,
                                                     std::int64_t last_step);

/// Runs `read`, which reads files of a checkpoint on every rank. What the first rank that met an
/// Error of bad_data has to say, on every rank; empty: all is well. Other errors go on their way.
/// Collective.
std::string damage_met_by_any(parallel::MpiSession& session, const std::function<void()>& read);

/// Gives damaged checkpoints another name, "step-00000020.damaged", by which they are no
/// checkpoints of the run any more and are never removed, and warns. Each has its new path
/// afterwards. On rank 0 alone. Throws Error (io_error).
void set_aside(std::vector<DamagedCheckpoint>& damaged);

/// Throws Error (bad_data, met by every rank): none of them can be read, with what is wrong.
[[noreturn]] void fail_all_damaged(const std::vector<DamagedCheckpoint>& damaged);

}  // namespace espalier::train
