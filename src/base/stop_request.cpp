#include "base/stop_request.hpp"

#include <array>
#include <atomic>
#include <csignal>
#include <ctime>

namespace espalier {
namespace {

constexpr std::int64_t kDuplicate_ns = 1'000'000'000;
constexpr std::array kStops{SIGTERM, SIGINT, SIGUSR2};

std::atomic<int> requested{0};  ///< number of the first signal that stops
std::atomic<std::uint64_t> saves{0};
std::atomic<std::int64_t> first_end_ns{0};  ///< of SIGTERM and SIGINT; 0: none has come
static_assert(std::atomic<int>::is_always_lock_free &&
                  std::atomic<std::uint64_t>::is_always_lock_free &&
                  std::atomic<std::int64_t>::is_always_lock_free,
              "set from a signal handler");
std::atomic<int> num_installed{0};

/// Of a clock that does not jump; allowed in a signal handler.
std::int64_t now_ns() {
  timespec now{};
  clock_gettime(CLOCK_MONOTONIC, &now);
  return std::int64_t{now.tv_sec} * 1'000'000'000 + now.tv_nsec;
}

void note_stop(int signal) {
  int none = 0;
  requested.compare_exchange_strong(none, signal);
  if (signal == SIGUSR2) return;
  const std::int64_t now = now_ns();
  std::int64_t first = 0;
  if (first_end_ns.compare_exchange_strong(first, now) || now - first < kDuplicate_ns) return;
  // Delivered when this handler returns.
  std::signal(signal, SIG_DFL);
  std::raise(signal);
}

void handle(int signal, void (*handler)(int)) {
  struct sigaction action {};
  action.sa_handler = handler;
  action.sa_flags = SA_RESTART;
  sigaction(signal, &action, nullptr);
}

}  // namespace

StopSignals::StopSignals() {
  if (num_installed++ > 0) return;
  requested = 0;
  saves = 0;
  first_end_ns = 0;
  for (const int signal : kStops) handle(signal, note_stop);
  handle(SIGUSR1, [](int) { ++saves; });
}

StopSignals::~StopSignals() {
  if (--num_installed > 0) return;
  for (const int signal : kStops) std::signal(signal, SIG_DFL);
  std::signal(SIGUSR1, SIG_IGN);
}

bool stop_requested() {
  return requested != 0;
}

const char* stop_signal_name() {
  switch (requested) {
    case SIGTERM:
      return "SIGTERM";
    case SIGINT:
      return "SIGINT";
    case SIGUSR2:
      return "SIGUSR2";
    default:
      return "";
  }
}

std::uint64_t num_save_requests() {
  return saves;
}

void end_if_stop_requested() {
  if (requested != 0) std::raise(requested);
}

}  // namespace espalier
