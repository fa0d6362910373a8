#pragma once
#include <filesystem>
#include <string>
#include <vector>

#include "config/parameters.hpp"
#include "io/checkpoint.hpp"
#include "parallel/layout/shard_map.hpp"

namespace espalier::train {

// What a restart says, and what it refuses, when the input is not the one of the checkpoint.

/// The input that the checkpoint was written with.
config::Parameters input_of(const io::CheckpointInfo& info, const std::filesystem::path& folder);

/// Compares everything that must be the same with the checkpoint that the run goes on from, before
/// any weight is read. Throws Error, met by every rank: bad_configuration when keys differ so that
/// the same weights make another function, with the old and the new value of each, unless
/// checkpoint.allow_changes names them and the tensors' shapes stay; bad_data for another
/// tokenizer, for weights without the optimizer's moments, and for tensors that are not those
/// of the checkpoint's own input. `tokenizer_identity`: of the run's data; empty: not known.
/// Returns the input that the checkpoint was written with.
config::Parameters require_continuable(const io::CheckpointReader& reader,
                                       const std::filesystem::path& folder,
                                       const config::Parameters& now,
                                       const std::vector<parallel::TensorSpec>& table,
                                       const std::string& tokenizer_identity);

/// What checkpoints of the run keep of such changes: CheckpointInfo::allowed_changes.
std::string allowed_changes(const io::CheckpointInfo& info, const config::Parameters& earlier,
                            const config::Parameters& now);

/// Warns, on rank 0, of what else changes the course of the run: length, batches, optimizer,
/// schedule, data and SIMD level, with old and new values and what becomes of the learning rate.
/// `now` has training.steps as the data allow; `data_identity`: of the training data now.
void tell_changes_of_course(const io::CheckpointInfo& info, const std::filesystem::path& folder,
                            const config::Parameters& earlier, const config::Parameters& now,
                            const std::string& data_identity);

/// What a checkpoint keeps of the program that writes it: `build` and the SIMD level in force.
std::string with_simd_level(const std::string& build);
/// That level in CheckpointInfo::build; empty: none is named.
std::string simd_level_in(const std::string& build);

}  // namespace espalier::train
