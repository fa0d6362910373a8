#pragma once
#include <string>

#include "runs/run_status.hpp"

namespace espalier::train {

/// What Trigger::status asks for, for the log: "status: 120 of 500 steps, loss 3.21, 9,120 tok/s,
/// ETA 4 min 10 s, last checkpoint: step 100, 12 s ago; now in attention".
std::string status_line(const runs::RunStatus& status);

}  // namespace espalier::train
