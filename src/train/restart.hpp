#pragma once
#include <filesystem>
#include <string>

#include "config/parameters.hpp"
#include "io/checkpoint.hpp"

namespace espalier::train {

// What a restart says, and what it refuses, when the input is not the one of the checkpoint.

/// The input that the checkpoint was written with.
config::Parameters input_of(const io::CheckpointInfo& info, const std::filesystem::path& folder);

/// Throws Error (bad_configuration, met by every rank) when keys of [model] differ so that the same
/// weights make another function, each with its old and new value, unless checkpoint.allow_changes
/// names them; then it warns. Shapes are compared elsewhere (require_same_model).
void require_same_function(const config::Parameters& earlier, const config::Parameters& now,
                           const std::filesystem::path& folder);

/// What else changes the course of the run: length, batches, optimiser, schedule, data and SIMD
/// level, with old and new values and what becomes of the learning rate; empty: nothing does.
/// `data_identity`: of the training data now.
std::string changes_of_course(const io::CheckpointInfo& info, const config::Parameters& earlier,
                              const config::Parameters& now, const std::string& data_identity);

/// What a checkpoint keeps of the program that writes it: `build` and the SIMD level in force.
std::string with_simd_level(const std::string& build);

/// Throws Error (bad_data) for weights without the optimiser's moments.
void require_continuable(const io::CheckpointInfo& info, const std::filesystem::path& folder);

}  // namespace espalier::train
