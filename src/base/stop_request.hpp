#pragma once
#include <cstdint>

namespace espalier {

/// Requests of schedulers and people:
///
///   SIGTERM, SIGINT, SIGUSR2   stop early, with what is done kept
///   SIGUSR1                    save, and go on
///
/// The handlers only set a flag, which whoever works long asks for; a system call that waits goes
/// on waiting (SA_RESTART), so that a wait without end has to ask, too. A second SIGTERM or SIGINT
/// ends the process at once by that signal; one that comes within a second is taken for a duplicate
/// of the first, since launchers and schedulers send several. They may be nested: the program has
/// them from its first moment, so that a request during its start is not lost.
class StopSignals {
 public:
  /// Installs the handlers until destruction. The outermost forgets earlier requests.
  StopSignals();
  /// The outermost gives the signals that stop back to the system. SIGUSR1 is ignored from then on:
  /// a request to save ends nothing that has nothing to save.
  ~StopSignals();
  StopSignals(const StopSignals&) = delete;
  StopSignals& operator=(const StopSignals&) = delete;
};

/// Whether a signal that stops has come since the outermost StopSignals; false without them.
bool stop_requested();

/// "SIGTERM": the signal that stop_requested tells of; "" without one.
const char* stop_signal_name();

/// How often SIGUSR1 has come since the outermost StopSignals.
std::uint64_t num_save_requests();

/// Ends this process by the signal that has come, as without handlers; returns when none has. For
/// what does not stop early; outside of any StopSignals.
void end_if_stop_requested();

}  // namespace espalier
