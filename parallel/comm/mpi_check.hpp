#pragma once

namespace espalier::parallel {

/// Throws Error (internal) with the name of the call and MPI's text unless `code` is MPI_SUCCESS.
void check_mpi(int code, const char* call);

}  // namespace espalier::parallel
