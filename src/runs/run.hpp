#pragma once
#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "config/parameters.hpp"
#include "io/event_log.hpp"
#include "io/run_tables.hpp"
#include "runs/accounting.hpp"
#include "runs/job_report.hpp"
#include "runs/run_status.hpp"

namespace espalier::runs {

/// Whether a job works in a run directory, as far as can be seen from this machine.
struct Life {
  std::string state;  ///< for people: "training", "no sign of life", "unknown"
  std::string note;   ///< more of it: "since 12 min; its process has ended"; or empty
  bool is_over = true;
};

/// A run directory as it was read: of a run that goes on, has ended or died, or of an older version
/// of the program, which wrote less.
struct Run {
  std::filesystem::path path;
  std::string name;  ///< for legends: of its folder, longer where several have that
  std::vector<io::HistoryRow> history;
  std::vector<io::ValidationRow> validation;
  std::vector<io::Event> events;
  std::optional<RunStatus> status;
  std::optional<JobReport> report;  ///< of the newest job that ended
  std::vector<Job> jobs;
  TimeAccount time;  ///< of all jobs
  Life life;
  /// The input of the newest job as it was resolved; of older versions, of the newest checkpoint.
  std::optional<config::Parameters> input;
  /// Those of jobs whose input was another one than that of the job before.
  struct ChangedInput {
    std::int64_t job;
    config::Parameters input;
  };
  std::vector<ChangedInput> changed_inputs;
  double flops_per_token = kUnknown;  ///< causal attention counted half

  /// The job that made the row's step; null where no job is known.
  const Job* job_of_step(std::int64_t step) const;
  /// Share of the measured peak that the row's speed is; nan where that is not known.
  double mfu_of(const io::HistoryRow& row) const;
  std::int64_t last_step() const { return history.empty() ? 0 : history.back().step; }
  std::int64_t steps() const;  ///< asked for; 0: unknown
  std::int64_t num_faults() const;
};

/// What is needed of a run for its status alone, which is quick: no inputs.
enum class Depth { status, everything };
/// Throws Error (bad_data): no folder, or none of a training run; or its tables cannot be read.
Run read_run(const std::filesystem::path& path, Depth depth);
/// All of them, each by a name of its own. Of several paths ("runs/*") folders of something else
/// are passed over, with a warning. Throws as read_run, and Error (usage) when two paths mean one
/// folder.
std::vector<Run> read_runs(const std::vector<std::string>& paths, Depth depth);

/// Exposed for tests. `now`: since 1970.
Life life_of(const std::filesystem::path& run_directory, const std::optional<RunStatus>& status,
             double now);

}  // namespace espalier::runs
