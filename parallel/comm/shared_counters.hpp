#pragma once
#include <cstdint>
#include <memory>

#include "parallel/comm/session.hpp"

namespace espalier::parallel {

/// Whole numbers that all ranks see and change, without waiting for one another: work is handed out
/// by them where nothing depends on who does it. They lie in a window of rank 0 (MPI_Fetch_and_op).
/// From the thread that owns the session only.
class SharedCounters {
 public:
  /// `num_counters`, all 0. Collective.
  SharedCounters(MpiSession& session, int num_counters);
  /// Collective, unless an exception is on its way.
  ~SharedCounters();
  SharedCounters(const SharedCounters&) = delete;
  SharedCounters& operator=(const SharedCounters&) = delete;

  /// Adds to a counter and returns what it was before; an amount of 0 only reads.
  std::int64_t add(int counter, std::int64_t amount);
  /// Lets MPI work for the others: some transports need rank 0's help to reach its window. Call it
  /// often while computing.
  void help();

 private:
  struct Implementation;
  std::unique_ptr<Implementation> implementation_;
};

}  // namespace espalier::parallel
