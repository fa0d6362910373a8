#pragma once
#include <cstdint>
#include <string>

#include "optim/replica_audit.hpp"
#include "train/checkpoint_monitor.hpp"
#include "train/monitor.hpp"

namespace espalier::train {

/// run.audit_interval: whether the ranks hold what they should (optim::ReplicaAudit).
///
/// A step is audited before its update: what its passes have used is still there then, and of a bit
/// that has flipped since the update before nothing has reached the optimizer's state. (The update
/// overwrites the weights, so that afterwards nothing would show.) A save is preceded by an audit,
/// too. What is found ends the run: Error (bad_numbers, met by every rank) that names tensors,
/// ranks and hosts; a save that was begun before is completed first.
class AuditMonitor final : public Monitor {
 public:
  /// `checkpoints` must outlive it.
  AuditMonitor(const MonitoredRun& run, CheckpointMonitor& checkpoints);

  void at_start() override { audited_step_ = run_.state.step; }
  void before_update() override;
  void after_rollback() override { audited_step_ = run_.state.step; }
  /// Before a checkpoint of the step of the run is begun. Collective.
  void before_save();

 private:
  void audit(const std::string& when);
  [[noreturn]] void fail_differing(const std::vector<optim::AuditFinding>& findings,
                                   const std::string& when);

  MonitoredRun run_;
  CheckpointMonitor& checkpoints_;
  optim::ReplicaAudit audit_;
  std::int64_t audited_step_ = 0;
  bool has_told_cost_ = false;
};

}  // namespace espalier::train
