#pragma once
#include <string>
#include <vector>

#include "config/parameters.hpp"
#include "model/stage_assignment.hpp"
#include "parallel/layout/grid.hpp"

namespace espalier::plan {

/// What tells the weights and the work of a rank of a pipeline from those of another: which blocks
/// its stages have, dense or with experts, and what stands at their ends.
std::string kind_of_rank(const model::Architecture& architecture,
                         const model::StageAssignment& assignment, int pipeline_rank);

/// Ranks of a pipeline among which is, of every kind, the one that needs most memory: those that no
/// other of their kind has at least as many slots and message buffers as. Of resolved parameters.
std::vector<int> largest_of_each_kind(const config::Parameters& parameters,
                                      const parallel::GridShape& shape);

}  // namespace espalier::plan
