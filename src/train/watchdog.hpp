#pragma once
#include <cstdint>
#include <filesystem>
#include <memory>

#include "parallel/comm/session.hpp"

namespace espalier::train {

/// Ends a job that hangs, and says which rank, on which host, doing what. A thread per rank sends
/// rank 0 what its main thread does (base/activity.hpp), in a UDP datagram every tenth of the
/// timeout, at least every ten seconds, and rank 0 answers; MPI has no part in it, since it may
/// be what hangs. When the main thread of rank 0 has done nothing new for the timeout, its
/// watchdog prints the sentence of HangWatch, adds the event "hang" and ends the job with status
/// 70. When rank 0 itself does not answer, another rank does so a little later. Datagrams of
/// other jobs are told by a random token.
class Watchdog {
 public:
  /// `timeout_s` > 0. Collective.
  Watchdog(parallel::MpiSession& session, double timeout_s);
  ~Watchdog();
  Watchdog(const Watchdog&) = delete;
  Watchdog& operator=(const Watchdog&) = delete;
  /// Where the event is told from now on, too, and as of which job. Not collective.
  void tell_in(const std::filesystem::path& run_directory, std::int64_t job);

 private:
  struct Implementation;
  std::unique_ptr<Implementation> implementation_;
};

}  // namespace espalier::train
