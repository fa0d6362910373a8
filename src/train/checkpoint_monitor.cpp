#include "train/checkpoint_monitor.hpp"

#include <chrono>
#include <utility>

namespace espalier::train {
namespace {

using Clock = std::chrono::steady_clock;

/// The training waits, in the phase of checkpoints.
class Stall {
 public:
  Stall(const MonitoredRun& run, double& stalled_s)
      : scope_(run.rank_context.context.profiler().scope(device::Phase::checkpoint)),
        stalled_s_(stalled_s) {}
  ~Stall() { stalled_s_ += std::chrono::duration<double>(Clock::now() - begin_).count(); }
  Stall(const Stall&) = delete;
  Stall& operator=(const Stall&) = delete;

 private:
  device::Profiler::Scope scope_;
  double& stalled_s_;
  Clock::time_point begin_ = Clock::now();
};

}  // namespace

CheckpointMonitor::CheckpointMonitor(const MonitoredRun& run, const io::RunLock* lock,
                                     std::function<io::CheckpointInfo()> info)
    : run_(run), lock_(lock), info_(std::move(info)), saved_step_(run.state.continued_step) {}

void CheckpointMonitor::at_start() {
  driver_ = std::make_unique<CheckpointDriver>(
      run_.parameters, run_.rank_context.context, *run_.model.memory.optimizer,
      run_.rank_context.grid.shape(), run_.session.world());
}

void CheckpointMonitor::after_step(const StepReport& report) {
  if (is_due(report.step, run_.parameters.checkpoint.interval)) save();
}

void CheckpointMonitor::at_end(bool all_steps) {
  if (!all_steps || run_.parameters.checkpoint.at_end) save();
}

void CheckpointMonitor::save() {
  if (saved_step_ == run_.state.step) return;
  saved_step_ = run_.state.step;
  const Stall stall(run_, stalled_s_);
  driver_->begin(info_());
}

void CheckpointMonitor::commit() {
  if (!driver_->is_saving()) return;
  const Stall stall(run_, stalled_s_);
  if (lock_ != nullptr) lock_->require_held();
  driver_->commit();
}

void CheckpointMonitor::finish() {
  const Stall stall(run_, stalled_s_);
  driver_->finish();
}

void CheckpointMonitor::before_overwrite(std::int64_t state_index) {
  if (!driver_->is_saving()) return;
  const Stall stall(run_, stalled_s_);
  driver_->before_overwrite(state_index);
}

}  // namespace espalier::train
