// The main of every Catch2 program: MPI (one rank without mpirun) and the host threads live around
// the tests; on rank > 0 only failures are printed.
#define CATCH_CONFIG_RUNNER
#include <mpi.h>

#include <catch2/catch.hpp>

#include "base/host_loops.hpp"
#include "base/log.hpp"

int main(int argc, char** argv) {
  int provided = 0;
  MPI_Init_thread(&argc, &argv, MPI_THREAD_FUNNELED, &provided);
  int rank = 0;
  MPI_Comm_rank(MPI_COMM_WORLD, &rank);
  espalier::log::set_rank(rank);
  int failed = 0;
  {
    espalier::HostRuntime host;
    Catch::Session session;
    if (const int status = session.applyCommandLine(argc, argv); status != 0) return status;
    failed = session.run();
  }
  // A rank that failed must not leave the others waiting in a collective.
  if (failed != 0) MPI_Abort(MPI_COMM_WORLD, 1);
  MPI_Finalize();
  return 0;
}
