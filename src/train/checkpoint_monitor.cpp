#include "train/checkpoint_monitor.hpp"

#include <utility>

namespace espalier::train {

using device::Phase;

CheckpointMonitor::CheckpointMonitor(const config::Parameters& parameters,
                                     device::Context& context, optim::Optimizer& optimizer,
                                     parallel::Communicator& world, const RunState& state,
                                     const io::RunLock* lock,
                                     std::function<io::CheckpointInfo()> info)
    : parameters_(parameters),
      context_(context),
      optimizer_(optimizer),
      world_(world),
      state_(state),
      lock_(lock),
      info_(std::move(info)),
      saved_step_(state.continued_step) {}

void CheckpointMonitor::at_start() {
  driver_ = std::make_unique<CheckpointDriver>(parameters_, context_, optimizer_, world_);
}

void CheckpointMonitor::after_step(const StepReport& report) {
  if (is_due(report.step, parameters_.checkpoint.interval)) save();
}

void CheckpointMonitor::at_end(bool all_steps) {
  if (!all_steps || parameters_.checkpoint.at_end) save();
}

void CheckpointMonitor::save() {
  if (saved_step_ == state_.step) return;
  saved_step_ = state_.step;
  const auto phase = context_.profiler().scope(Phase::checkpoint);
  driver_->begin(info_());
}

void CheckpointMonitor::commit() {
  if (!driver_->is_saving()) return;
  const auto phase = context_.profiler().scope(Phase::checkpoint);
  if (lock_ != nullptr) lock_->require_held();
  driver_->commit();
}

void CheckpointMonitor::finish() {
  const auto phase = context_.profiler().scope(Phase::checkpoint);
  driver_->finish();
}

void CheckpointMonitor::before_overwrite(std::int64_t state_index) {
  if (!driver_->is_saving()) return;
  const auto phase = context_.profiler().scope(Phase::checkpoint);
  driver_->before_overwrite(state_index);
}

}  // namespace espalier::train
