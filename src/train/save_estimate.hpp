#pragma once
#include <vector>

#include "config/parameters.hpp"
#include "parallel/comm/session.hpp"
#include "parallel/layout/shard_map.hpp"

namespace espalier::train {

/// How long a save of the run may take, in seconds, before this job has made one: the slowest of
/// the last ones that events.jsonl of the run directory tells, or else what all bytes need at
/// half the rate at which rank 0 can write a probe into the folder of checkpoints. Rank 0
/// measures, every rank gets the answer; a probe that fails is left to the save to explain.
/// Collective.
double estimate_save_s(parallel::MpiSession& session, const config::Parameters& parameters,
                       const std::vector<parallel::TensorSpec>& table);

}  // namespace espalier::train
