#include "train/checkpoint_monitor.hpp"

#include <utility>

#include "base/activity.hpp"
#include "base/log.hpp"
#include "train/save_estimate.hpp"

namespace espalier::train {
namespace {

device::Profiler::Scope checkpoint_phase(const MonitoredRun& run) {
  return run.rank_context.context.profiler().scope(device::Phase::checkpoint);
}

}  // namespace

CheckpointMonitor::CheckpointMonitor(const MonitoredRun& run, const io::RunLock* lock,
                                     const RunControl& control, Deadline& deadline,
                                     RunTriggers* triggers,
                                     std::function<io::CheckpointInfo()> info)
    : run_(run),
      lock_(lock),
      control_(control),
      deadline_(deadline),
      triggers_(triggers),
      info_(std::move(info)),
      saved_step_(run.state.continued_step) {}

void CheckpointMonitor::at_start() {
  driver_ = std::make_unique<CheckpointDriver>(
      run_.parameters, run_.rank_context.context, *run_.model.memory.optimizer,
      run_.rank_context.grid.shape(), run_.session.world());
  if (control_.has_limit())
    deadline_.expect_save(
        estimate_save_s(run_.session, run_.parameters, run_.model.memory.weights->table));
}

bool CheckpointMonitor::is_save_due(std::int64_t step) const {
  return is_due(step, run_.parameters.checkpoint.interval) || (is_asked_ && !has_begun_asked_);
}

void CheckpointMonitor::after_step(const StepReport& report) {
  if (is_save_due(report.step)) save();
}

void CheckpointMonitor::at_end(bool all_steps) {
  if (run_.state.step == 0) return;  // stopped before the first step: there is nothing to keep
  const bool is_wanted = is_asked_ && !has_begun_asked_;
  if (!all_steps || run_.parameters.checkpoint.at_end || is_wanted) save();
}

void CheckpointMonitor::ask(const std::string& by) {
  if (is_asked_) return;
  is_asked_ = true;
  has_begun_asked_ = false;
  log::info("a checkpoint was asked for by {}", by == "file" ? "the file \"save\"" : by);
  run_.record("save", {{"by", by}});
}

void CheckpointMonitor::save_if_asked() {
  if (is_asked_ && !has_begun_asked_ && run_.state.step > 0 && driver_ != nullptr) save();
}

void CheckpointMonitor::save() {
  if (has_saved_state()) {
    has_begun_asked_ = is_asked_;
    if (!driver_->is_saving()) is_honoured();
    return;
  }
  saved_step_ = run_.state.step;
  const auto phase = checkpoint_phase(run_);
  finish();
  has_begun_asked_ = is_asked_;
  deadline_.save_began(control_.elapsed_s());
  driver_->begin(info_());
}

void CheckpointMonitor::commit() {
  if (driver_ == nullptr || !driver_->is_saving()) return;
  const auto phase = checkpoint_phase(run_);
  if (lock_ != nullptr) lock_->require_held();
  driver_->commit();
  is_on_disk();
}

void CheckpointMonitor::finish() {
  if (driver_ == nullptr || !driver_->is_saving()) return;
  const auto phase = checkpoint_phase(run_);
  const activity::Scope waiting("waiting for a checkpoint");
  driver_->finish();
  is_on_disk();
}

void CheckpointMonitor::is_on_disk() {
  complete_step_ = saved_step_;
  complete_at_s_ = control_.elapsed_s();
  deadline_.save_done(complete_at_s_);
  is_honoured();
}

void CheckpointMonitor::is_honoured() {
  if (!has_begun_asked_) return;
  is_asked_ = has_begun_asked_ = false;
  if (triggers_ != nullptr) triggers_->honoured(Trigger::save);
}

void CheckpointMonitor::before_overwrite(std::int64_t state_index) {
  if (driver_ == nullptr || !driver_->is_saving()) return;
  const auto phase = checkpoint_phase(run_);
  driver_->before_overwrite(state_index);
}

}  // namespace espalier::train
