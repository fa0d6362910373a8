#pragma once
#include <cstdint>
#include <string>
#include <vector>

#include "config/parameters.hpp"
#include "parallel/grid.hpp"

namespace espalier::plan {

/// One arena of one rank.
struct PlannedArena {
  std::string name;
  std::int64_t bytes;
};

/// Memory of one rank before anything is allocated, from the same layout code that allocates
/// (device::Arena in planning mode): exact for the arenas.
std::vector<PlannedArena> plan_memory(const config::Parameters& parameters,
                                      const parallel::ProcessGrid& grid);

/// Table for the banner and --dry-run: rank 0's arenas, and the smallest and largest total over the
/// ranks that can differ (tensor and data coordinates).
std::string describe_memory_plan(const config::Parameters& parameters,
                                 const parallel::GridShape& shape);

}  // namespace espalier::plan
