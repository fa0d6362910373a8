#pragma once
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "io/event_log.hpp"
#include "io/run_tables.hpp"
#include "runs/run_status.hpp"

// Jobs of a run and where their wall time went, from what every run directory has: events and
// history.
namespace espalier::runs {

/// Where wall time went, in seconds; the parts add up to wall_s.
struct TimeAccount {
  double wall_s = 0.0;
  double steps_s = 0.0;   ///< steps that brought the training on
  double replay_s = 0.0;  ///< steps that had been done before and were lost
  double validation_s = 0.0;
  double checkpoint_s = 0.0;  ///< the training waited for checkpoints
  double start_s = 0.0;       ///< from the start of a process to its first step
  double wait_s = 0.0;        ///< between jobs
  double other_s = 0.0;       ///< the end, logs, what a job that died did after its last step
  /// Share of useful steps in the wall time; nan without any.
  double goodput() const { return wall_s > 0.0 ? steps_s / wall_s : kUnknown; }
  TimeAccount& operator+=(const TimeAccount& other);
};
struct TimePart {
  std::string key;   ///< for programs: "checkpoint_s"
  std::string name;  ///< for people: "waiting for checkpoints"
  double seconds;
};
/// All parts in a fixed order, also those of no seconds.
std::vector<TimePart> parts_of(const TimeAccount& account);

/// A job that worked in the run directory.
struct Job {
  std::int64_t number = 1;
  std::int64_t ranks = 1;
  std::string grid, host, slurm_job;
  std::int64_t first_step = 0;  ///< steps done before it
  std::int64_t last_step = 0;   ///< steps done when it ended, or so far; later ones may be lost
  double begin_s = 0.0;         ///< since 1970: its process was started
  double end_s = 0.0;           ///< it ended, or its last sign of life
  bool has_ended = false;       ///< with an "end"; else it was killed, or runs
  int exit_status = -1;
  std::string reason;  ///< of its end, in a word or two; empty: unknown
  // What its MFU is made of; nan in runs of older versions.
  double flops_per_token = kUnknown, full_flops_per_token = kUnknown, peak_flops = kUnknown;
  TimeAccount time;
};

/// The jobs by their "start" events, in order. `status`: that of the newest job, which says how
/// long it lives. Without events (an older version, or the first seconds) there are none.
std::vector<Job> jobs_of(const std::vector<io::Event>& events,
                         const std::vector<io::HistoryRow>& history,
                         const std::optional<RunStatus>& status);
/// All jobs together, with the waits between them.
TimeAccount account_of(const std::vector<Job>& jobs);

/// What people call a fault: an event that nobody asked for.
bool is_fault(const io::Event& event);

}  // namespace espalier::runs
