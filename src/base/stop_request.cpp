#include "base/stop_request.hpp"

#include <array>
#include <atomic>
#include <csignal>

namespace espalier {
namespace {

std::atomic<bool> requested{false};
static_assert(std::atomic<bool>::is_always_lock_free, "set from a signal handler");

constexpr std::array kSignals{SIGTERM, SIGUSR1, SIGUSR2, SIGINT};

}  // namespace

StopSignals::StopSignals() {
  requested = false;
  for (const int number : kSignals) {
    struct sigaction action {};
    action.sa_handler = [](int) { requested = true; };
    // A second Ctrl-C ends the program the usual way.
    action.sa_flags = SA_RESTART | (number == SIGINT ? static_cast<int>(SA_RESETHAND) : 0);
    sigaction(number, &action, nullptr);
  }
}

StopSignals::~StopSignals() {
  for (const int number : kSignals) std::signal(number, SIG_DFL);
}

bool stop_requested() {
  return requested;
}

}  // namespace espalier
