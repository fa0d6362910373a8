#pragma once
#include <cstdint>
#include <optional>
#include <string>

#include "io/run_lock.hpp"
#include "runs/job_report.hpp"
#include "train/monitor.hpp"
#include "train/progress.hpp"

namespace espalier::train {

/// Adds up what a job spends its time on, and makes the report at its end. On every rank, first of
/// the monitors: the time before its at_start is that of the start.
class JobRecord final : public Monitor {
 public:
  /// `progress` must outlive the monitor.
  JobRecord(const MonitoredRun& run, const Progress& progress);
  void at_start() override;
  void after_step(const StepReport& report) override;
  void after_validation(const ValidationReport& report) override;
  void after_save(const SaveReport& report) override;
  /// Part of the last step's time that went to a checkpoint.
  void took_from_step(double stall_s) { steps_s_ -= stall_s; }

  /// The report of a job that is over: `state` "finished" or "stopped", for which reason, with
  /// which exit status. `stalled_s`: what the training waited for checkpoints. On rank 0 also the
  /// "end" in events.jsonl, report.json in the run directory and in that of the job (`lock` is null
  /// on other ranks). Collective.
  runs::JobReport finish(const std::string& state, const std::string& reason, int exit_status,
                         double stalled_s, const std::optional<runs::PlannedStep>& planned,
                         const io::RunLock* lock);

 private:
  void gather_phases(runs::JobReport& report);
  void record_end(runs::JobReport& report, const std::string& reason) const;

  MonitoredRun run_;
  const Progress& progress_;
  double start_s_ = 0.0, steps_s_ = 0.0, validation_s_ = 0.0;
  double loss_ = runs::kUnknown, bits_per_byte_ = runs::kUnknown;
  std::int64_t saves_ = 0, save_bytes_ = 0;
  double save_write_s_ = 0.0;
};

/// This job's input as it was resolved, in its folder of the run directory. Rank 0.
void keep_input(const std::filesystem::path& run_directory, std::int64_t job,
                const config::Parameters& parameters);

}  // namespace espalier::train
