#pragma once
#include <chrono>
#include <cstdint>
#include <string>

#include "config/parameters.hpp"

namespace espalier::train {

/// Why a run ended.
enum class StopReason : std::uint8_t {
  finished,    ///< all steps done
  signal,      ///< SIGTERM, SIGUSR2 or SIGINT
  time_limit,  ///< run.time_limit, or the end of the Slurm job
};

/// Requests to stop at the next step boundary. Signal handlers only set a flag; the step loop asks
/// once per step, and the ranks agree through the step's all-reduce.
class RunControl {
 public:
  /// Installs handlers for SIGTERM, SIGUSR2 and SIGINT until destruction, and reads the time limit:
  /// the earlier of run.time_limit and the end of the job that Slurm announces
  /// (SLURM_JOB_END_TIME).
  explicit RunControl(const config::RunParameters& parameters);
  ~RunControl();
  RunControl(const RunControl&) = delete;
  RunControl& operator=(const RunControl&) = delete;

  bool signal_received() const;
  /// Whether a step of `step_s` seconds would no longer fit before the limit less its margin.
  bool out_of_time(double step_s) const;
  double elapsed_s() const;
  /// "until 2 h 00 min from the start", or "none"
  std::string describe_limit() const;

 private:
  std::chrono::steady_clock::time_point start_ = std::chrono::steady_clock::now();
  double limit_s_;  ///< seconds from the start; infinity: none
  double margin_s_;
};

/// config::parse_duration, or Error (bad_configuration).
double parse_duration_s(const std::string& text);

}  // namespace espalier::train
