#include "train/stopped_early.hpp"

#include "base/log.hpp"

namespace espalier::train {

ExitStatus stopped_early(train::StopReason reason, const std::string& done) {
  const char* why = reason == train::StopReason::signal ? " by a signal"
                    : reason == train::StopReason::file ? " by the file \"stop\" in its directory"
                    : reason == train::StopReason::time_limit ? " before the time limit"
                                                              : "";  // it was asked for
  log::info("stopped{} after {} (status 75)", why, done);
  return ExitStatus::stopped_early;
}

}  // namespace espalier::train
