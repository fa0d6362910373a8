#pragma once
#include "config/parameters.hpp"
#include "parallel/comm/session.hpp"
#include "plan/memory_fit.hpp"
#include "train/training_data.hpp"

namespace espalier::train {

// For --dry-run: the step that a job would take first, as far as it can be taken without the memory
// of a run.

/// Reads the batch of that step: with as many ranks as the grid has each its own, else that of rank
/// 0; counts its targets, and says in the log what was read. `position`: where the run stands.
/// Throws Error (bad_data) when shards cannot be opened on a rank, or hold an id that the model has
/// not. Collective.
void read_first_batch(parallel::MpiSession& session, const config::Parameters& parameters,
                      const RunPosition& position);

/// Goes through the operators and collectives of the step on planned buffers, of the device of
/// `room`, and says in the log how many they are: an operator or a provider of attention that is
/// missing there is an Error, as in the job. Rank 0 alone.
void count_first_step(const config::Parameters& parameters, const plan::Room& room);

}  // namespace espalier::train
