#pragma once
#include <functional>

#include "train/checkpoint_monitor.hpp"
#include "train/deadline.hpp"
#include "train/monitor.hpp"
#include "train/run_control.hpp"
#include "train/run_triggers.hpp"
#include "train/step/step.hpp"

namespace espalier::train {

/// What the ranks of a run tell each other in one small all-reduce, once per step before any weight
/// changes and between the rounds of a validation: the sums of the step, who was asked to stop or
/// to save, who sees the time limit coming, whose part of a save is done, and whether one is due.
class StepExchange {
 public:
  /// Rank 0 looks for `triggers` (null on others), and `tell_status` says how the run is. All of it
  /// must outlive the exchange.
  StepExchange(const MonitoredRun& run, RunControl& control, CheckpointMonitor& checkpoints,
               Deadline& deadline, RunTriggers* triggers, std::function<void()> tell_status)
      : run_(run),
        control_(control),
        checkpoints_(checkpoints),
        deadline_(deadline),
        triggers_(triggers),
        tell_status_(std::move(tell_status)) {}

  /// In a step: the sums over the ranks. A save whose part every rank has done goes on. Collective,
  /// as the next.
  StepSums in_step(const StepSums& of_rank);
  /// Between steps, before something of `next_s` seconds. A save that was asked for begins at once.
  void between_steps(double next_s);

  // As the ranks agreed in the last exchange:
  bool stop_signal() const { return stop_signal_; }
  bool stop_file() const { return stop_file_; }
  bool out_of_time() const { return out_of_time_; }
  bool asked_to_stop() const { return stop_signal_ || stop_file_; }
  /// Has to stop now: only the checkpoint matters.
  bool is_urgent() const { return asked_to_stop() || out_of_time_; }
  /// Until the next exchange: what there was no time for is left out.
  void forget_time_limit() { out_of_time_ = false; }

 private:
  StepSums exchange(const StepSums& of_rank, double needed_s);
  void look_for_triggers();

  MonitoredRun run_;
  RunControl& control_;
  CheckpointMonitor& checkpoints_;
  Deadline& deadline_;
  RunTriggers* triggers_;
  std::function<void()> tell_status_;
  bool stop_signal_ = false;
  bool stop_file_ = false;
  bool out_of_time_ = false;
};

}  // namespace espalier::train
