#pragma once
#include <span>
#include <string>

#include "config/parameters.hpp"

namespace espalier::plan {

/// The model file or run input at `path`, with overrides "section.key=value", as it stands: not
/// resolved. run.name is that of the file where it has none. Throws Error (bad_configuration) where
/// the file cannot be read, or is wrong.
config::Parameters read_planned_input(const std::string& path,
                                      std::span<const std::string> overrides);

/// Whether the input says how long it trains: a run, and not a model alone.
bool has_length(const config::Parameters& parameters);

/// Of an input without a length the schedule does not matter, and need not fit one.
void drop_schedule_without_length(config::Parameters& parameters);

/// Resolved for what does not depend on a grid: on one rank, with a micro-batch of one sequence.
/// Without a length, training.steps stays 0. Throws Error (bad_configuration) that begins with the
/// input's `name` where it is wrong, or where it has no model.
config::Parameters resolved_without_grid(config::Parameters parameters, const std::string& name);

}  // namespace espalier::plan
