#pragma once
#include <string>
#include <vector>

#include "config/parameters.hpp"
#include "parallel/session.hpp"

namespace espalier::commands {

/// The documents of one file, or of standard input ("-"), on every rank, as `how` says that texts
/// are read. A stream is read by rank 0 and handed on. Throws Error (bad_data) for what is not
/// there or no text, and when there is no document. Collective.
std::vector<std::string> read_documents(parallel::MpiSession& session, const std::string& path,
                                        const config::TokenizeParameters& how);

}  // namespace espalier::commands
