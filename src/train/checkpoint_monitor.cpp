#include "train/checkpoint_monitor.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <utility>

#include "base/activity.hpp"
#include "base/log.hpp"
#include "base/text.hpp"
#include "io/checkpoint_files.hpp"
#include "train/save_estimate.hpp"

namespace espalier::train {
namespace {

device::Profiler::Scope checkpoint_phase(const MonitoredRun& run) {
  return run.rank_context.context.profiler().scope(device::Phase::checkpoint);
}

/// "1.20 GiB in 3.10 s = 396.33 MiB/s; the training waited 0.020 s"
std::string describe_save(const SaveReport& saved) {
  const auto bytes = static_cast<double>(saved.bytes);
  return fmt::format("{} in {:.2f} s = {}/s; the training waited {:.3f} s", human_bytes(bytes),
                     saved.write_s, human_bytes(bytes / std::max(saved.write_s, 1e-9)),
                     saved.stall_s);
}

}  // namespace

std::string describe_interval(const config::CheckpointParameters& parameters) {
  std::string text;
  if (parameters.interval > 0) text = fmt::format("every {} steps", parameters.interval);
  if (parameters.interval_minutes > 0.0)
    text += fmt::format("{}every {:g} minutes", text.empty() ? "" : " and ",
                        parameters.interval_minutes);
  return !text.empty() ? text
                       : "only at the end or when the run is stopped (checkpoint.interval = 0)";
}

CheckpointMonitor::CheckpointMonitor(const MonitoredRun& run, const io::RunLock* lock,
                                     const RunControl& control, Deadline& deadline,
                                     RunTriggers* triggers,
                                     std::function<io::CheckpointInfo()> info, Tell tell)
    : run_(run),
      lock_(lock),
      control_(control),
      deadline_(deadline),
      triggers_(triggers),
      info_(std::move(info)),
      tell_(std::move(tell)),
      saved_step_(run.state.continued_step) {}

void CheckpointMonitor::at_start() {
  driver_ = std::make_unique<CheckpointDriver>(
      run_.parameters, run_.rank_context.context, *run_.model.memory.optimizer,
      run_.rank_context.grid.shape(), run_.session.world());
  if (control_.has_limit())
    deadline_.expect_save(
        estimate_save_s(run_.session, run_.parameters, run_.model.memory.weights->table));
  last_begin_ = Clock::now();
}

bool CheckpointMonitor::is_save_due(std::int64_t step) const {
  return wanted_ || is_due(step, run_.parameters.checkpoint.interval) ||
         (is_asked_ && !has_begun_asked_);
}

void CheckpointMonitor::after_step(const StepReport& report) {
  if (is_save_due(report.step)) save();
}

void CheckpointMonitor::at_end(bool all_steps) {
  if (run_.state.step == 0) return;  // stopped before the first step: there is nothing to keep
  if (driver_ != nullptr) driver_->expect_no_update();
  const bool is_wanted = is_asked_ && !has_begun_asked_;
  if (!all_steps || run_.parameters.checkpoint.at_end || is_wanted) save();
}

void CheckpointMonitor::ask(const std::string& by) {
  if (is_asked_ || !info_) return;  // a replay saves nothing
  is_asked_ = true;
  has_begun_asked_ = false;
  log::info("a checkpoint was asked for by {}", by == "file" ? "the file \"save\"" : by);
  run_.record("save", {{"by", by}});
}

void CheckpointMonitor::save_if_asked() {
  if (is_asked_ && !has_begun_asked_ && run_.state.step > 0 && driver_ != nullptr) save();
}

bool CheckpointMonitor::is_time_over() const {
  const double minutes = run_.parameters.checkpoint.interval_minutes;
  if (minutes <= 0.0 || run_.session.rank() != 0) return false;
  return std::chrono::duration<double, std::ratio<60>>(Clock::now() - last_begin_).count() >=
         minutes;
}

void CheckpointMonitor::save() {
  wanted_ = false;
  last_begin_ = Clock::now();
  if (has_saved_state()) {
    has_begun_asked_ = is_asked_;
    if (!driver_->is_saving()) is_honoured();
    return;
  }
  saved_step_ = run_.state.step;
  finish();
  const auto phase = checkpoint_phase(run_);
  has_begun_asked_ = is_asked_;
  deadline_.save_began(control_.elapsed_s());
  driver_->begin(info_());
}

void CheckpointMonitor::next_part() {
  if (driver_ == nullptr || !driver_->is_saving()) return;
  const auto phase = checkpoint_phase(run_);
  if (lock_ != nullptr) lock_->require_held();
  report(driver_->next_part());
}

void CheckpointMonitor::finish() {
  if (driver_ == nullptr) return;
  const auto phase = checkpoint_phase(run_);
  const activity::Scope waiting("waiting for a checkpoint");
  report(driver_->finish());
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

void CheckpointMonitor::report(const std::optional<SaveReport>& saved) {
  if (!saved) return;
  log::info("checkpoint of step {} is complete ({})", saved->step, describe_save(*saved));
  run_.record("checkpoint", {{"of_step", static_cast<double>(saved->step)},
                             {"write_s", saved->write_s},
                             {"stall_s", saved->stall_s},
                             {"bytes", static_cast<double>(saved->bytes)},
                             {"path", "checkpoints/" + io::step_folder_name(saved->step)}});
  deadline_.save_done(control_.elapsed_s());
  is_honoured();
  tell_(*saved);
}

}  // namespace espalier::train
