#include "train/stopped_early.hpp"

#include <array>

#include "base/log.hpp"
#include "base/stop_request.hpp"

namespace espalier::train {
namespace {

Error stopped_while(std::string_view doing, Met met) {
  return Error(ExitStatus::stopped_early,
               fmt::format("stopped by a signal while {}: no step was done; start the same command "
                           "again to go on",
                           doing),
               met);
}

}  // namespace

ExitStatus stopped_early(train::StopReason reason, const std::string& done) {
  const char* why = reason == train::StopReason::signal ? " by a signal"
                    : reason == train::StopReason::file ? " by the file \"stop\" in its directory"
                    : reason == train::StopReason::time_limit ? " before the time limit"
                                                              : "";  // it was asked for
  log::info("stopped{} after {} (status 75)", why, done);
  return ExitStatus::stopped_early;
}

void require_not_stopped(std::string_view doing) {
  if (stop_requested()) throw stopped_while(doing, Met::by_this_rank);
}

void until_stopped(const std::function<void()>& action) {
  try {
    action();
  } catch (const Error& error) {
    if (error.status() != ExitStatus::stopped_early) throw;
  }
}

bool any_asked_to_stop(parallel::MpiSession& session) {
  std::array<double, 1> asked{stop_requested() ? 1.0 : 0.0};
  session.world().all_reduce_max(asked);
  return asked[0] > 0.0;
}

void leave_if_stopped(parallel::MpiSession& session, std::string_view doing) {
  if (any_asked_to_stop(session)) throw stopped_while(doing, Met::by_every_rank);
}

ExitStatus status_unless_stopped(const std::function<ExitStatus()>& action) {
  try {
    return action();
  } catch (const Error& error) {
    if (error.status() != ExitStatus::stopped_early || error.met() != Met::by_every_rank) throw;
    log::info("{} (status 75)", error.what());
    return ExitStatus::stopped_early;
  }
}

}  // namespace espalier::train
