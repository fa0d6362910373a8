#include "train/run_control.hpp"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <cstdlib>
#include <ctime>
#include <limits>
#include <optional>
#include <string_view>
#include <system_error>

#include "base/error.hpp"
#include "base/log.hpp"
#include "base/process_age.hpp"
#include "base/text.hpp"

namespace espalier::train {
namespace {

/// From the start of the program.
double slurm_end_s() {
  std::string oddity;
  const double left_s =
      announced_end_s(std::getenv("SLURM_JOB_END_TIME"), std::time(nullptr), oddity);
  if (!oddity.empty() && log::rank() == 0)
    log::warn("SLURM_JOB_END_TIME {}: it is ignored", oddity);
  return process_age_s() + left_s;
}

}  // namespace

const char* name_of(StopReason reason) {
  switch (reason) {
    case StopReason::finished:
      return "finished";
    case StopReason::signal:
      return "signal";
    case StopReason::file:
      return "file";
    case StopReason::time_limit:
      return "time_limit";
    case StopReason::stop_after:
      return "stop_after";
  }
  return "";
}

double announced_end_s(const char* text, std::int64_t now, std::string& oddity) {
  constexpr double kNone = std::numeric_limits<double>::infinity();
  constexpr std::int64_t kYears =
      10 * 366 * std::int64_t{86400};  // Slurm's "unlimited" is one year
  if (text == nullptr || *text == '\0') return kNone;
  const std::string_view digits(text);
  std::int64_t end = 0;
  const auto [rest, error] = std::from_chars(digits.data(), digits.data() + digits.size(), end);
  if (error != std::errc{} || rest != digits.data() + digits.size()) {
    oddity = fmt::format("= \"{}\" is no time in seconds since 1970", text);
  } else if (end <= now) {
    oddity =
        fmt::format("= {} has passed{}", end,
                    end <= 0 ? "" : " " + human_duration(static_cast<double>(now - end)) + " ago");
  } else if (end - now > kYears) {
    oddity = fmt::format("= {} is more than ten years away", end);
  } else {
    return static_cast<double>(end - now);
  }
  return kNone;
}

double parse_duration_s(const std::string& text) {
  const std::optional<double> seconds = config::parse_duration(text);
  if (!seconds)
    throw Error(ExitStatus::bad_configuration,
                fmt::format("run.time_limit = \"{}\": write seconds, HH:MM:SS or D-HH:MM:SS", text),
                Met::by_every_rank);
  return *seconds;
}

RunControl::RunControl(const config::RunParameters& parameters)
    : limit_s_(std::min(slurm_end_s(), parameters.time_limit.empty()
                                           ? std::numeric_limits<double>::infinity()
                                           : parse_duration_s(parameters.time_limit))),
      margin_s_(parameters.time_margin) {}

bool RunControl::signal_received() const {
  return stop_requested();
}

bool RunControl::save_signal_received() {
  constexpr double kDuplicate_s = 1.0;
  const std::uint64_t saves = num_save_requests();
  if (save_heard_s_ && elapsed_s() - *save_heard_s_ < kDuplicate_s) saves_heard_ = saves;
  return saves > saves_heard_;
}

void RunControl::heard_save() {
  saves_heard_ = num_save_requests();
  save_heard_s_ = elapsed_s();
}

bool RunControl::has_limit() const {
  return !std::isinf(limit_s_);
}

double RunControl::elapsed_s() const {
  return process_age_s();
}

bool RunControl::out_of_time(double seconds) const {
  return elapsed_s() + seconds + margin_s_ > limit_s_;
}

std::optional<StopReason> RunControl::must_stop(parallel::Communicator& world,
                                                double seconds) const {
  std::array<double, 2> ranks{signal_received() ? 1.0 : 0.0, out_of_time(seconds) ? 1.0 : 0.0};
  world.all_reduce_sum(ranks);
  if (ranks[0] > 0.0) return StopReason::signal;
  if (ranks[1] > 0.0) return StopReason::time_limit;
  return std::nullopt;
}

std::string RunControl::describe_limit() const {
  return std::isinf(limit_s_) ? "none" : human_duration(limit_s_) + " from the start";
}

}  // namespace espalier::train
