#pragma once
#include "io/run_log.hpp"
#include "train/monitor.hpp"
#include "train/progress.hpp"
#include "train/training_data.hpp"

namespace espalier::train {

/// Says which sources have begun another epoch.
class EpochMonitor final : public Monitor {
 public:
  /// `data` must outlive the monitor.
  EpochMonitor(const MonitoredRun& run, const TrainingData& data) : run_(run), data_(data) {}
  void after_step(const StepReport& report) override;

 private:
  MonitoredRun run_;
  const TrainingData& data_;
};

/// A row of history.csv per step.
class HistoryMonitor final : public Monitor {
 public:
  /// References must outlive the monitor.
  HistoryMonitor(io::RunLog& log, const Progress& progress) : log_(log), progress_(progress) {}
  void after_step(const StepReport& report) override;

 private:
  io::RunLog& log_;
  const Progress& progress_;
};

}  // namespace espalier::train
