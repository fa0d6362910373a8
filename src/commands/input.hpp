#pragma once
#include "commands/command_line.hpp"
#include "config/parameters.hpp"
#include "parallel/comm/session.hpp"

namespace espalier::commands {

/// The parameters that the input file and the overrides say, the same on every rank: rank 0 alone
/// touches the file system, the others get its text. Collective. What is wrong with the input is
/// an Error met by every rank.
config::Parameters read_input(parallel::MpiSession& session, const CommandLine& line);

/// Fills and checks `parameters` for this job; for a dry run on one process, for the job that
/// [parallel] describes.
void resolve_input(const parallel::MpiSession& session, const CommandLine& line,
                   config::Parameters& parameters);

}  // namespace espalier::commands
