#include "parallel/comm/shared_counters.hpp"

#include <mpi.h>

#include <exception>
#include <vector>

#include "base/error.hpp"
#include "parallel/comm/mpi_check.hpp"
#include "parallel/comm/mpi_communicator.hpp"

namespace espalier::parallel {

struct SharedCounters::Implementation {
  std::vector<std::int64_t> alone;  // of a job of one rank
  MPI_Comm ranks = MPI_COMM_NULL;   // the session's
  MPI_Win window = MPI_WIN_NULL;
};

SharedCounters::SharedCounters(MpiSession& session, int num_counters)
    : implementation_(std::make_unique<Implementation>()) {
  Implementation& self = *implementation_;
  if (session.size() == 1) {
    self.alone.resize(static_cast<std::size_t>(num_counters));
    return;
  }
  std::int64_t* memory = nullptr;
  const MPI_Aint bytes =
      session.rank() == 0 ? static_cast<MPI_Aint>(num_counters) * MPI_Aint{sizeof *memory} : 0;
  self.ranks = session.mpi_world().handle();
  check_mpi(
      MPI_Win_allocate(bytes, sizeof *memory, MPI_INFO_NULL, self.ranks, &memory, &self.window),
      "MPI_Win_allocate");
  check_mpi(MPI_Win_set_errhandler(self.window, MPI_ERRORS_RETURN), "MPI_Win_set_errhandler");
  check_mpi(MPI_Win_lock_all(MPI_MODE_NOCHECK, self.window), "MPI_Win_lock_all");
  if (session.rank() == 0)
    for (int i = 0; i < num_counters; ++i) memory[i] = 0;
  check_mpi(MPI_Win_sync(self.window), "MPI_Win_sync");
  session.world().barrier();
}

SharedCounters::~SharedCounters() {
  MPI_Win& window = implementation_->window;
  // While an exception leaves this rank, the others may not come.
  if (window == MPI_WIN_NULL || std::uncaught_exceptions() > 0) return;
  MPI_Win_unlock_all(window);
  MPI_Win_free(&window);
}

std::int64_t SharedCounters::add(int counter, std::int64_t amount) {
  Implementation& self = *implementation_;
  if (self.window == MPI_WIN_NULL) {
    std::int64_t& value = self.alone.at(static_cast<std::size_t>(counter));
    const std::int64_t before = value;
    value += amount;
    return before;
  }
  std::int64_t before = 0;
  check_mpi(MPI_Fetch_and_op(&amount, &before, MPI_INT64_T, 0, counter, MPI_SUM, self.window),
            "MPI_Fetch_and_op");
  check_mpi(MPI_Win_flush(0, self.window), "MPI_Win_flush");
  return before;
}

void SharedCounters::help() {
  if (implementation_->window == MPI_WIN_NULL) return;
  int arrived = 0;
  check_mpi(
      MPI_Iprobe(MPI_ANY_SOURCE, MPI_ANY_TAG, implementation_->ranks, &arrived, MPI_STATUS_IGNORE),
      "MPI_Iprobe");
}

}  // namespace espalier::parallel
