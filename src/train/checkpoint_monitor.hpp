#pragma once
#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "io/run_lock.hpp"
#include "train/checkpointing.hpp"
#include "train/monitor.hpp"

namespace espalier::train {

/// Saves every checkpoint.interval steps and checkpoint.interval_minutes minutes, and at the end of
/// a job as checkpoint.at_end says or when steps are left. A save goes on in the background beside
/// the steps and validations that follow.
class CheckpointMonitor final : public Monitor {
 public:
  /// `lock`: of the run directory, null on ranks without it; must outlive the monitor. `info`: of
  /// the state as it is when called. `tell`: hands what was saved to the other monitors.
  using Tell = std::function<void(const SaveReport&)>;
  CheckpointMonitor(const MonitoredRun& run, const io::RunLock* lock,
                    std::function<io::CheckpointInfo()> info, Tell tell);

  /// Every checkpoint keeps the matrix algorithms, which have been chosen by then. Collective.
  void at_start() override;
  void after_step(const StepReport& report) override;
  void at_end(bool all_steps) override;

  // From at_start on:
  /// This rank has done its share of what a running save does now: its word in the exchange of the
  /// ranks.
  bool is_part_done() { return driver_->is_part_done(); }
  /// All ranks have: the running save goes on to its next part, or is complete. Collective.
  void next_part();
  /// By the clock of rank 0 (false on others) a save is due: checkpoint.interval_minutes have gone
  /// since the last one began. Its word in the exchange.
  bool is_time_over() const;
  /// Rank 0 has said so: the next step is followed by a save, on every rank.
  void save_after_step() { wanted_ = true; }
  /// Waits for a running save and makes it complete. Collective.
  void finish();
  /// For optim::AdamW::update.
  void before_overwrite(std::int64_t state_index);
  /// All saves of this job for the end of the log; empty: there were none.
  std::string summary() const;

 private:
  using Clock = std::chrono::steady_clock;  // nobody sets it
  void save();
  void report(const std::optional<SaveReport>& saved);

  MonitoredRun run_;
  const io::RunLock* lock_;
  std::function<io::CheckpointInfo()> info_;
  Tell tell_;
  std::unique_ptr<CheckpointDriver> driver_;
  std::int64_t saved_step_;
  Clock::time_point last_begin_ = Clock::now();
  bool wanted_ = false;
  SaveReport total_;  ///< of this job; step: how many
};

/// "every 500 steps and every 30 minutes", for the log.
std::string describe_interval(const config::CheckpointParameters& parameters);

}  // namespace espalier::train
