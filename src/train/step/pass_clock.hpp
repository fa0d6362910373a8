#pragma once
#include <cstdint>
#include <map>
#include <utility>
#include <vector>

#include "parallel/schedule/schedule.hpp"

namespace espalier::train {

/// What the passes of a rank's stages took by the host's clock. For the host alone, where a call
/// returns when its work is done.
struct PassClock {
  struct Sum {
    double seconds = 0.0;
    std::int64_t passes = 0;
  };
  std::map<std::pair<pipeline::ActionKind, int>, Sum> passes;  ///< by stage
  std::vector<double> steps;  ///< s, of a step's passes and of the waiting between them
};

}  // namespace espalier::train
