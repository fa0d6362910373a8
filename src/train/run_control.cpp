#include "train/run_control.hpp"

#include <algorithm>
#include <array>
#include <atomic>
#include <cmath>
#include <csignal>
#include <cstdlib>
#include <ctime>
#include <limits>
#include <optional>

#include "base/error.hpp"
#include "base/text.hpp"

namespace espalier::train {
namespace {

std::atomic<bool> stop_signal{false};
static_assert(std::atomic<bool>::is_always_lock_free, "set from a signal handler");

constexpr std::array kSignals{SIGTERM, SIGUSR2, SIGINT};

double announced_end_s() {
  const char* end = std::getenv("SLURM_JOB_END_TIME");
  if (end == nullptr || *end == '\0') return std::numeric_limits<double>::infinity();
  return std::strtod(end, nullptr) - static_cast<double>(std::time(nullptr));
}

}  // namespace

double parse_duration_s(const std::string& text) {
  const std::optional<double> seconds = config::parse_duration(text);
  if (!seconds)
    throw Error(ExitStatus::bad_configuration,
                fmt::format("run.time_limit = \"{}\": write seconds, HH:MM:SS or D-HH:MM:SS", text),
                Met::by_every_rank);
  return *seconds;
}

RunControl::RunControl(const config::RunParameters& parameters)
    : limit_s_(std::min(announced_end_s(), parameters.time_limit.empty()
                                               ? std::numeric_limits<double>::infinity()
                                               : parse_duration_s(parameters.time_limit))),
      margin_s_(parameters.time_margin) {
  stop_signal = false;
  for (const int number : kSignals) {
    struct sigaction action {};
    action.sa_handler = [](int) { stop_signal = true; };
    // A second Ctrl-C ends the program the usual way.
    action.sa_flags = SA_RESTART | (number == SIGINT ? static_cast<int>(SA_RESETHAND) : 0);
    sigaction(number, &action, nullptr);
  }
}

RunControl::~RunControl() {
  for (const int number : kSignals) std::signal(number, SIG_DFL);
}

bool RunControl::signal_received() const {
  return stop_signal;
}

double RunControl::elapsed_s() const {
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start_).count();
}

bool RunControl::out_of_time(double step_s) const {
  return elapsed_s() + step_s + margin_s_ > limit_s_;
}

std::string RunControl::describe_limit() const {
  return std::isinf(limit_s_) ? "none" : human_duration(limit_s_) + " from the start";
}

}  // namespace espalier::train
