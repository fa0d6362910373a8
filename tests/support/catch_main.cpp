// The main of every Catch2 program: MPI (one rank without mpirun) and the host threads live around
// the tests; on rank > 0 only failures are printed. With ESPALIER_TEST_SIMD=avx2 host operators run
// at that SIMD level; status 77, skipped, where the processor has it not.
#define CATCH_CONFIG_RUNNER
#include <mpi.h>

#include <algorithm>
#include <catch2/catch.hpp>
#include <cstdio>
#include <cstdlib>

#include "base/host_loops.hpp"
#include "base/log.hpp"
#include "base/simd/level.hpp"

namespace {

constexpr int kSkipped = 77;

/// Whether the processor has the level that was asked for, if any.
bool take_simd_level() {
  const char* name = std::getenv("ESPALIER_TEST_SIMD");
  if (name == nullptr) return true;
  const espalier::simd::Level level = espalier::simd::level_from_name(name);
  const auto supported = espalier::simd::supported_levels();
  if (std::find(supported.begin(), supported.end(), level) == supported.end()) {
    std::printf("skipped: this processor has no %s\n", name);
    return false;
  }
  espalier::simd::use_level(level);
  return true;
}

}  // namespace

int main(int argc, char** argv) {
  if (!take_simd_level()) return kSkipped;
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
