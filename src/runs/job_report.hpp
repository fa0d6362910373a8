#pragma once
#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "runs/accounting.hpp"

namespace espalier::runs {

inline constexpr const char* kReportName = "report.json";
inline constexpr const char* kJobsName = "jobs";
/// jobs/0003 of a run directory: what is kept of its third job.
std::filesystem::path job_folder(const std::filesystem::path& run_directory, std::int64_t job);

/// Seconds that the ranks of a job spent in a phase.
struct PhaseTime {
  std::string name;
  double min_s = 0.0, mean_s = 0.0, max_s = 0.0;
  std::int64_t slowest_rank = 0;  ///< the one of max_s
  bool is_communication = false;
};

/// What a plan said before, for plan.device.
struct PlannedStep {
  std::string device;
  double step_s = 0.0, tokens_per_second = 0.0;
  double mfu = kUnknown;  ///< a share of the data sheet's peak
  struct Part {
    std::string name;
    double seconds;
  };
  std::vector<Part> parts;  ///< of step_s
};

/// What a job did and where its time went: report.json, and the end of run.log.
struct JobReport {
  std::int64_t job = 1;
  std::string run = {}, state = {}, grid = {}, host = {}, slurm_job = {};
  std::int64_t exit_status = 0;
  std::int64_t ranks = 1;
  double started = 0.0, ended = 0.0;                      ///< since 1970
  std::int64_t first_step = 0, last_step = 0, steps = 0;  ///< steps: of the whole run
  double loss = kUnknown, bits_per_byte = kUnknown;       ///< the last ones
  // Over all steps but the first.
  double tokens_per_second = kUnknown, step_s = kUnknown;
  double mfu = kUnknown, mfu_full = kUnknown, peak_flops = kUnknown;
  std::vector<PhaseTime> phases = {};  ///< since the first step; those without time are left out
  /// The rank that computed longest: the others wait for it in their collectives.
  std::int64_t slowest_rank = 0;
  std::string slowest_host = {};
  double slowest_compute_s = 0.0, mean_compute_s = 0.0;
  /// Mean over the ranks: exposed, computation stood still for it; hidden, under way beside it
  /// (nan: not measured, as on GPUs).
  double exposed_s = 0.0, hidden_s = kUnknown;
  double input_s = 0.0;  ///< mean of the ranks
  std::int64_t saves = 0, save_bytes = 0;
  double save_write_s = 0.0;                  ///< of all saves, in the background
  TimeAccount time = {}, run_time = {};       ///< of this job, and of the run with all jobs so far
  std::int64_t num_jobs = 1, num_faults = 0;  ///< of the run
  std::optional<PlannedStep> planned = {};
};

std::string to_json(const JobReport& report);
/// Nothing when there is no such file or it is none of ours.
std::optional<JobReport> read_report(const std::filesystem::path& file);
/// For run.log: what the job reached, where its time went, beside the plan.
std::string describe(const JobReport& report);
/// "81.2 % of 3 h 10 min: start 2 min (1.1 %), replay 40 s (0.3 %), ..."
std::string describe(const TimeAccount& account);

}  // namespace espalier::runs
