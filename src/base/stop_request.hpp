#pragma once

namespace espalier {

/// A request to stop early, as schedulers and people make it: SIGTERM, SIGUSR1, SIGUSR2 or SIGINT.
/// The handlers only set a flag, which whoever works long asks for; a system call that waits goes
/// on waiting (SA_RESTART), so that a wait without end has to ask, too. They may be nested: the
/// program has them from its first moment, so that a request during its start is not lost.
class StopSignals {
 public:
  /// Installs the handlers until destruction. The outermost forgets an earlier request.
  StopSignals();
  ~StopSignals();
  StopSignals(const StopSignals&) = delete;
  StopSignals& operator=(const StopSignals&) = delete;
};

/// Whether one of the signals has come since the outermost StopSignals; false without them.
bool stop_requested();

/// Ends this process by the signal that has come, as without handlers; returns when none has. For
/// what does not stop early; outside of any StopSignals.
void end_if_stop_requested();

}  // namespace espalier
