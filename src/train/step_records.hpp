#pragma once
#include "io/run_log.hpp"
#include "train/monitor.hpp"
#include "train/progress.hpp"
#include "train/training_data.hpp"

namespace espalier::train {

/// Says which sources have begun another epoch.
class EpochMonitor final : public Monitor {
 public:
  /// `step_samples`: of all ranks. References must outlive the monitor.
  EpochMonitor(const TrainingData& data, const RunState& state, std::uint64_t step_samples)
      : data_(data), state_(state), step_samples_(step_samples) {}
  void after_step(const StepReport& report) override;

 private:
  const TrainingData& data_;
  const RunState& state_;
  std::uint64_t step_samples_;
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
