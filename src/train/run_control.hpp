#pragma once
#include <chrono>
#include <cstdint>
#include <optional>
#include <string>

#include "base/stop_request.hpp"
#include "config/parameters.hpp"
#include "parallel/comm/communicator.hpp"

namespace espalier::train {

/// Why a run ended.
enum class StopReason : std::uint8_t {
  finished,    ///< all steps done
  signal,      ///< one of StopSignals
  file,        ///< Trigger::stop in the run directory
  time_limit,  ///< run.time_limit, or the end of the Slurm job
  stop_after,  ///< run.stop_after
};

/// As in events.jsonl: "signal", "file", "time_limit", "stop_after", "finished".
const char* name_of(StopReason reason);

/// Seconds from now to the end of the job that Slurm announces in `text` (SLURM_JOB_END_TIME,
/// seconds since 1970); infinity when it is not set (null, or empty). What no job can mean is
/// ignored, and `oddity` says why: no whole number, or a time that is past or years away, as in an
/// environment that was left from another job.
double announced_end_s(const char* text, std::int64_t now, std::string& oddity);

/// Requests to save, or to stop at the next boundary of a step, or of a round of an evaluation.
/// Signal handlers only set a flag; the loop asks once per step or round, and the ranks agree by an
/// all-reduce.
class RunControl {
 public:
  /// Hears signals (StopSignals) until destruction, and reads the time limit: the earlier of
  /// run.time_limit and the end of the job that Slurm announces (SLURM_JOB_END_TIME). Rank 0 warns
  /// when that one is ignored.
  explicit RunControl(const config::RunParameters& parameters);

  bool signal_received() const;
  /// Whether SIGUSR1 has come since heard_save. What comes within a second after it is a duplicate:
  /// launchers hand a signal to the ranks one after another.
  bool save_signal_received();
  void heard_save();
  bool has_limit() const;
  /// Seconds from the start of the program; infinity: none.
  double limit_s() const { return limit_s_; }
  /// Whether something of `seconds` would no longer fit before the limit less its margin.
  bool out_of_time(double seconds) const;
  /// The same answer on every rank, for a loop without an all-reduce of its own; nothing: go on.
  /// Collective.
  std::optional<StopReason> must_stop(parallel::Communicator& world, double seconds) const;
  double elapsed_s() const;  ///< since the program began
  /// "until 2 h 00 min from the start", or "none"
  std::string describe_limit() const;

 private:
  StopSignals signals_;
  double limit_s_;  ///< seconds from the start of the program; infinity: none
  double margin_s_;
  std::uint64_t saves_heard_ = 0;
  std::optional<double> save_heard_s_;
};

/// config::parse_duration, or Error (bad_configuration).
double parse_duration_s(const std::string& text);

}  // namespace espalier::train
