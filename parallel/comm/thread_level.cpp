#include "parallel/comm/thread_level.hpp"

#include <mpi.h>

#include "parallel/comm/mpi_check.hpp"

namespace espalier::parallel {

const char* thread_level() {
  int level = MPI_THREAD_SINGLE;
  check_mpi(MPI_Query_thread(&level), "MPI_Query_thread");
  if (level >= MPI_THREAD_MULTIPLE) return "multiple";
  if (level >= MPI_THREAD_SERIALIZED) return "serialized";
  return level >= MPI_THREAD_FUNNELED ? "funneled" : "single";
}

}  // namespace espalier::parallel
