#include "train/checkpoint_monitor.hpp"

#include <utility>

namespace espalier::train {
namespace {

device::Profiler::Scope checkpoint_phase(const MonitoredRun& run) {
  return run.rank_context.context.profiler().scope(device::Phase::checkpoint);
}

}  // namespace

CheckpointMonitor::CheckpointMonitor(const MonitoredRun& run, const io::RunLock* lock,
                                     std::function<io::CheckpointInfo()> info)
    : run_(run), lock_(lock), info_(std::move(info)), saved_step_(run.state.continued_step) {}

CheckpointMonitor::CheckpointMonitor(const MonitoredRun& run)
    : run_(run), lock_(nullptr), saved_step_(-1) {}

void CheckpointMonitor::at_start() {
  if (!info_) return;
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
  if (driver_ == nullptr || saved_step_ == run_.state.step) return;
  saved_step_ = run_.state.step;
  const auto phase = checkpoint_phase(run_);
  driver_->begin(info_());
}

void CheckpointMonitor::commit() {
  if (driver_ == nullptr || !driver_->is_saving()) return;
  const auto phase = checkpoint_phase(run_);
  if (lock_ != nullptr) lock_->require_held();
  driver_->commit();
}

void CheckpointMonitor::finish() {
  if (driver_ == nullptr) return;
  const auto phase = checkpoint_phase(run_);
  driver_->finish();
}

void CheckpointMonitor::before_overwrite(std::int64_t state_index) {
  if (driver_ == nullptr || !driver_->is_saving()) return;
  const auto phase = checkpoint_phase(run_);
  driver_->before_overwrite(state_index);
}

}  // namespace espalier::train
