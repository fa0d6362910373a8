#pragma once
#include "base/error.hpp"
#include "config/parameters.hpp"
#include "parallel/comm/session.hpp"

namespace espalier::commands {

/// `espalier bench --write FILE`: measures this host and writes it as a device (collective). Throws
/// Error (bad_configuration) where FILE is there already, before it measures, and (io_error) where
/// it cannot be written.
ExitStatus write_host(parallel::MpiSession& session, const config::Parameters& parameters,
                      bool dry_run);

}  // namespace espalier::commands
