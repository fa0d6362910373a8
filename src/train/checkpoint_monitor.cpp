#include "train/checkpoint_monitor.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "base/log.hpp"
#include "base/text.hpp"
#include "io/checkpoint_files.hpp"

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
                                     std::function<io::CheckpointInfo()> info, Tell tell)
    : run_(run),
      lock_(lock),
      info_(std::move(info)),
      tell_(std::move(tell)),
      saved_step_(run.state.continued_step) {}

void CheckpointMonitor::at_start() {
  driver_ = std::make_unique<CheckpointDriver>(
      run_.parameters, run_.rank_context.context, *run_.model.memory.optimizer,
      run_.rank_context.grid.shape(), run_.session.world());
  last_begin_ = Clock::now();
}

void CheckpointMonitor::after_step(const StepReport& report) {
  if (wanted_ || is_due(report.step, run_.parameters.checkpoint.interval)) save();
}

void CheckpointMonitor::at_end(bool all_steps) {
  if (!all_steps || run_.parameters.checkpoint.at_end) save();
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
  if (saved_step_ == run_.state.step) return;
  saved_step_ = run_.state.step;
  const auto phase = checkpoint_phase(run_);
  report(driver_->finish());
  driver_->begin(info_());
}

void CheckpointMonitor::next_part() {
  if (!driver_->is_saving()) return;
  const auto phase = checkpoint_phase(run_);
  if (lock_ != nullptr) lock_->require_held();
  report(driver_->next_part());
}

void CheckpointMonitor::finish() {
  const auto phase = checkpoint_phase(run_);
  report(driver_->finish());
}

void CheckpointMonitor::before_overwrite(std::int64_t state_index) {
  if (!driver_->is_saving()) return;
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
  ++total_.step;
  total_.write_s += saved->write_s;
  total_.stall_s += saved->stall_s;
  total_.bytes += saved->bytes;
  tell_(*saved);
}

std::string CheckpointMonitor::summary() const {
  if (total_.step == 0) return {};
  return fmt::format("checkpoints: {} of this job, {}", total_.step, describe_save(total_));
}

}  // namespace espalier::train
