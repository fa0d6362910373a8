#pragma once
#include "train/checkpoint_monitor.hpp"
#include "train/monitor.hpp"
#include "train/progress.hpp"

namespace espalier::train {

/// What Trigger::status asks for: a line of how the run is.
class StatusLine final : public Monitor {
 public:
  /// References must outlive the monitor.
  StatusLine(const MonitoredRun& run, const Progress& progress,
             const CheckpointMonitor& checkpoints)
      : run_(run), progress_(progress), checkpoints_(checkpoints) {}
  void after_step(const StepReport& report) override { last_ = report; }

  /// On rank 0, into the log.
  void tell() const;

 private:
  MonitoredRun run_;
  const Progress& progress_;
  const CheckpointMonitor& checkpoints_;
  StepReport last_{};
};

}  // namespace espalier::train
