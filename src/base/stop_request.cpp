#include "base/stop_request.hpp"

#include <array>
#include <atomic>
#include <csignal>

namespace espalier {
namespace {

std::atomic<int> requested{0};  ///< number of the signal that came last
static_assert(std::atomic<int>::is_always_lock_free, "set from a signal handler");
std::atomic<int> num_installed{0};

constexpr std::array kSignals{SIGTERM, SIGUSR1, SIGUSR2, SIGINT};

}  // namespace

StopSignals::StopSignals() {
  if (num_installed++ > 0) return;
  requested = 0;
  for (const int number : kSignals) {
    struct sigaction action {};
    action.sa_handler = [](int signal) { requested = signal; };
    // A second Ctrl-C ends the program the usual way.
    action.sa_flags = SA_RESTART | (number == SIGINT ? static_cast<int>(SA_RESETHAND) : 0);
    sigaction(number, &action, nullptr);
  }
}

StopSignals::~StopSignals() {
  if (--num_installed > 0) return;
  for (const int number : kSignals) std::signal(number, SIG_DFL);
}

bool stop_requested() {
  return requested != 0;
}

void end_if_stop_requested() {
  if (requested != 0) std::raise(requested);
}

}  // namespace espalier
