#pragma once
#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "io/run_lock.hpp"
#include "train/checkpointing.hpp"
#include "train/deadline.hpp"
#include "train/monitor.hpp"
#include "train/run_control.hpp"
#include "train/run_triggers.hpp"

namespace espalier::train {

/// Saves every checkpoint.interval steps and checkpoint.interval_minutes minutes, when it is asked
/// to, and at the end of a job as checkpoint.at_end says or when steps are left. A save goes on in
/// the background beside the steps and validations that follow.
class CheckpointMonitor final : public Monitor {
 public:
  using Tell = std::function<void(const SaveReport&)>;
  /// `lock`: of the run directory, null on ranks without it, as `triggers`. `deadline` learns how
  /// long saves take. `info`: of the state as it is when called. `tell`: hands what was saved to
  /// the other monitors. All must outlive the monitor.
  CheckpointMonitor(const MonitoredRun& run, const io::RunLock* lock, const RunControl& control,
                    Deadline& deadline, RunTriggers* triggers,
                    std::function<io::CheckpointInfo()> info, Tell tell);

  /// Every checkpoint keeps the matrix algorithms, which have been chosen by then. Collective.
  void at_start() override;
  void after_step(const StepReport& report) override;
  void at_end(bool all_steps) override;
  void after_rollback() override { saved_step_ = run_.state.step; }

  /// Somebody wants a checkpoint: `by` SIGUSR1 or a file. On every rank alike. It begins after the
  /// step, or with save_if_asked.
  void ask(const std::string& by);
  /// From ask until that checkpoint is complete.
  bool is_asked() const { return is_asked_; }
  /// Collective.
  void save_if_asked();
  /// Whether a save begins after that step.
  bool is_save_due(std::int64_t step) const;
  /// A save of the state as it is now has begun, or is complete.
  bool has_saved_state() const { return saved_step_ == run_.state.step; }

  /// This rank has done its share of what a running save does now: its word in the exchange of the
  /// ranks.
  bool is_part_done() { return driver_ != nullptr && driver_->is_part_done(); }
  /// By the clock of rank 0 (false on others) a save is due: checkpoint.interval_minutes have gone
  /// since the last one began. Its word in the exchange.
  bool is_time_over() const;
  /// Rank 0 has said so: the next step is followed by a save, on every rank.
  void save_after_step() { wanted_ = true; }
  // From at_start on:
  /// All ranks have done their share: the running save, if there is one, goes on to its next part,
  /// or is complete. Collective.
  void next_part();
  /// Waits for a running save and makes it complete. Collective.
  void finish();
  /// What the training has waited for checkpoints on this rank so far, in seconds.
  double stalled_s() const { return driver_ == nullptr ? 0.0 : driver_->stalled_s(); }
  /// For optim::AdamW::update.
  void before_overwrite(std::int64_t state_index);

 private:
  using Clock = std::chrono::steady_clock;  // nobody sets it
  void save();
  void report(const std::optional<SaveReport>& saved);  ///< one that has become complete
  void is_honoured();                                   ///< the one that was asked for

  MonitoredRun run_;
  const io::RunLock* lock_;
  const RunControl& control_;
  Deadline& deadline_;
  RunTriggers* triggers_;
  std::function<io::CheckpointInfo()> info_;
  Tell tell_;
  std::unique_ptr<CheckpointDriver> driver_;
  std::int64_t saved_step_;
  bool is_asked_ = false;
  bool has_begun_asked_ = false;  ///< that save
  Clock::time_point last_begin_ = Clock::now();
  bool wanted_ = false;  ///< by save_after_step
};

/// "every 500 steps and every 30 minutes", for the log.
std::string describe_interval(const config::CheckpointParameters& parameters);

}  // namespace espalier::train
