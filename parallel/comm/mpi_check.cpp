#include "parallel/comm/mpi_check.hpp"

#include <mpi.h>

#include "base/error.hpp"

namespace espalier::parallel {

void check_mpi(int code, const char* call) {
  if (code == MPI_SUCCESS) return;
  char text[MPI_MAX_ERROR_STRING] = "unknown error";
  int length = 0;
  MPI_Error_string(code, text, &length);
  fail(ExitStatus::internal, "{} failed: {}", call, text);
}

}  // namespace espalier::parallel
