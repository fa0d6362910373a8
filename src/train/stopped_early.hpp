#pragma once
#include <string>

#include "base/error.hpp"
#include "train/run_control.hpp"

namespace espalier::train {

/// Says "stopped <why> after <done> (status 75)" on rank 0 and returns that status. `done`: what is
/// done and kept, and how to go on.
ExitStatus stopped_early(train::StopReason reason, const std::string& done);

}  // namespace espalier::train
