#pragma once
#include "train/checkpoint_monitor.hpp"
#include "train/monitor.hpp"
#include "train/run_control.hpp"
#include "train/step/step.hpp"

namespace espalier::train {

/// What the ranks of a run tell each other in one small all-reduce, once per step before any weight
/// changes and between the rounds of a validation: the sums of the step, who was asked to stop, who
/// sees the time limit coming, whose part of a save is done, and whether one is due.
class StepExchange {
 public:
  /// All of it must outlive the exchange.
  StepExchange(const MonitoredRun& run, const RunControl& control, CheckpointMonitor& checkpoints)
      : run_(run), control_(control), checkpoints_(checkpoints) {}

  /// The sums over the ranks. A save whose part every rank has done goes on. `next_s`: how
  /// long what comes next may take. Collective.
  StepSums exchange(const StepSums& of_rank, double next_s);

  // As the ranks agreed in the last exchange:
  bool stop_signal() const { return stop_signal_; }
  bool out_of_time() const { return out_of_time_; }
  /// Asked to stop now: only the checkpoint matters.
  bool is_urgent() const { return stop_signal_ || out_of_time_; }
  /// Until the next exchange: what there was no time for is left out.
  void forget_time_limit() { out_of_time_ = false; }

 private:
  MonitoredRun run_;
  const RunControl& control_;
  CheckpointMonitor& checkpoints_;
  bool stop_signal_ = false;
  bool out_of_time_ = false;
};

}  // namespace espalier::train
