#pragma once
#include <exception>

#include "base/error.hpp"

namespace espalier::parallel {
class MpiSession;
}

namespace espalier::commands {

/// Prints the error on standard error and gives the status to end with. An error that every rank
/// met is printed by rank 0, and all ranks leave through MPI_Finalize. Any other ends the whole
/// job here and now, because the other ranks may be waiting for this one in a collective.
/// `session` is null when MPI did not start.
ExitStatus report_failure(const parallel::MpiSession* session, const std::exception& exception);

/// io_error in place of ok, and a message, when standard output did not take everything that was
/// printed: it is closed, or its disk is full.
ExitStatus status_with_output(ExitStatus status);

}  // namespace espalier::commands
