#pragma once

namespace espalier {

/// A request to stop early, as schedulers and people make it: SIGTERM, SIGUSR1, SIGUSR2 or SIGINT.
/// The handlers only set a flag, which whoever works long asks for; a system call that waits goes
/// on waiting (SA_RESTART), so that a wait without end has to ask, too.
class StopSignals {
 public:
  /// Forgets an earlier request and installs the handlers until destruction. One at a time.
  StopSignals();
  ~StopSignals();
  StopSignals(const StopSignals&) = delete;
  StopSignals& operator=(const StopSignals&) = delete;
};

/// Whether one of the signals has come since StopSignals were installed; false without them.
bool stop_requested();

}  // namespace espalier
