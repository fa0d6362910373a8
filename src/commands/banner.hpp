#pragma once
#include "config/parameters.hpp"
#include "parallel/comm/session.hpp"

namespace espalier::commands {

/// What a person wants to see first: build and libraries, ranks and where they run, the process
/// grid, the model and the memory plan. Collective.
void print_banner(parallel::MpiSession& session, const config::Parameters& parameters,
                  const parallel::GridShape& shape);

}  // namespace espalier::commands
