#pragma once
#include <cstdint>
#include <vector>

#include "config/fault.hpp"
#include "train/monitor.hpp"
#include "train/step/step.hpp"

namespace espalier::train {

/// The faults of debug.faults, each once in a job.
class FaultInjector {
 public:
  /// `run` must outlive it. Its parameters are resolved.
  explicit FaultInjector(const MonitoredRun& run);

  /// What is wrong with the step that begins now, on this rank. Flips a bit of a weight, stops the
  /// process or kills it, when it is time for that.
  StepFault before_step(std::int64_t step);

 private:
  void flip_weight(std::int64_t step);

  MonitoredRun run_;
  std::vector<config::Fault> left_;
};

}  // namespace espalier::train
