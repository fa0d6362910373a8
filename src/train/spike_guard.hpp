#pragma once
#include <cstdint>

#include "train/checkpoint_monitor.hpp"
#include "train/monitor.hpp"
#include "train/spike_rule.hpp"
#include "train/step/step.hpp"

namespace espalier::train {

/// What becomes of the steps that stand out, as run.on_spike says. It decides from what the ranks
/// have summed and from history.csv, so that every rank, and a job that continues the run, decides
/// alike.
class SpikeGuard {
 public:
  /// All of it must outlive the guard. `num_spikes`: as of the checkpoint that is continued.
  SpikeGuard(const MonitoredRun& run, CheckpointMonitor& checkpoints, std::int64_t num_spikes);

  /// Makes the window that of the history up to the step of the run: at a start, and when the run
  /// has gone back. Collective.
  void read_history();

  /// For StepHooks::judge. Throws Error (bad_numbers, met by every rank) when the run is to end; a
  /// save that was begun is completed first. Collective when the step is a spike.
  bool judge(const StepFindings& findings);
  /// The step that was judged last was a spike that the run goes back for.
  bool wants_rollback() const { return wants_rollback_; }

  /// Before a checkpoint is begun: without a spike since the one before, the count begins anew.
  void before_save();
  /// Skips and rollbacks since a stretch between two checkpoints had none.
  std::int64_t num_spikes() const { return num_spikes_; }

 private:
  [[noreturn]] void give_up(const StepFindings& findings, const Spike& spike);

  MonitoredRun run_;
  CheckpointMonitor& checkpoints_;
  SpikeRule rule_;
  std::int64_t num_spikes_;
  bool is_clean_ = true;  ///< no spike since the last save
  bool wants_rollback_ = false;
};

}  // namespace espalier::train
