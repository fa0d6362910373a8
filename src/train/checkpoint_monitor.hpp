#pragma once
#include <cstdint>
#include <functional>
#include <memory>

#include "io/run_lock.hpp"
#include "train/checkpointing.hpp"
#include "train/monitor.hpp"

namespace espalier::train {

/// Saves every checkpoint.interval steps, and at the end of a job as checkpoint.at_end says or when
/// steps are left. A save goes on in the background beside the steps and validations that follow.
class CheckpointMonitor final : public Monitor {
 public:
  /// `lock`: of the run directory, null on ranks without it; must outlive the monitor. `info`: of
  /// the state as it is when called.
  CheckpointMonitor(const MonitoredRun& run, const io::RunLock* lock,
                    std::function<io::CheckpointInfo()> info);
  /// For a run that is only replayed: it saves nothing and touches no file.
  explicit CheckpointMonitor(const MonitoredRun& run);

  /// Every checkpoint keeps the matrix algorithms, which have been chosen by then. Collective.
  void at_start() override;
  void after_step(const StepReport& report) override;
  void at_end(bool all_steps) override;
  void after_rollback() override { saved_step_ = run_.state.step; }

  // From at_start on:
  /// This rank's part of a running save is on disk: its share in the exchange of the ranks.
  bool is_written() { return driver_ != nullptr && driver_->is_written(); }
  /// All ranks are written: the running save, if there is one, is made complete. Collective.
  void commit();
  /// Waits for a running save and makes it complete. Collective.
  void finish();
  /// For optim::AdamW::update.
  void before_overwrite(std::int64_t state_index);

 private:
  void save();

  MonitoredRun run_;
  const io::RunLock* lock_;
  std::function<io::CheckpointInfo()> info_;
  std::unique_ptr<CheckpointDriver> driver_;
  std::int64_t saved_step_;
};

}  // namespace espalier::train
