#include "train/trainer.hpp"

#include <algorithm>
#include <chrono>

#include "base/activity.hpp"
#include "base/error.hpp"
#include "base/integers.hpp"
#include "base/log.hpp"
#include "optim/schedule.hpp"
#include "train/device_choice.hpp"

namespace espalier::train {

using device::Phase;
using Clock = std::chrono::steady_clock;

// One step: batch, forward, backward, reduce, clip, update.
std::optional<StepReport> Trainer::train_step() {
  const auto start = Clock::now();
  activity::set_step(state_.step + 1);
  const config::TrainingParameters& training = parameters_.training;
  // Targets that count, of all ranks: known without asking them.
  const std::uint64_t num_targets = data::count_targets(
      training_data_.sources(), training.sequence_length, batch_shape_.documents,
      state_.samples_consumed, static_cast<std::uint64_t>(training.global_batch_size));
  const double learning_rate = optim::learning_rate_at(parameters_.optimizer, parameters_.schedule,
                                                       state_.step + 1, training.steps);
  const StepFault fault = faults_->before_step(state_.step + 1);
  const StepResult result =
      training_step(plan::step_model(rank_context_.context, rank_context_.grid,
                                     model_.communicators, model_.stage, model_.memory),
                    {.num_micro_batches = batch_shape_.num_micro_batches,
                     .num_targets = num_targets,
                     .load =
                         [this](std::int64_t micro) {
                           auto phase = rank_context_.context.profiler().scope(Phase::data);
                           data::load_micro_batch(training_data_.sources(), batch_shape_,
                                                  state_.samples_consumed, micro, batch_);
                           return as_batch(batch_);
                         }},
                    {.optimizer = parameters_.optimizer,
                     .learning_rate = learning_rate,
                     .step = state_.step + 1,
                     .num_left_out = state_.num_left_out},
                    step_hooks(fault));

  state_.samples_consumed += static_cast<std::uint64_t>(training.global_batch_size);
  if (guard_->wants_rollback()) return std::nullopt;
  ++state_.step;
  if (!result.updated) ++state_.num_left_out;
  const double seconds = std::chrono::duration<double>(Clock::now() - start).count();
  slowest_step_s_ = std::max(slowest_step_s_, seconds);
  return StepReport{
      .step = state_.step,
      .tokens = state_.samples_consumed * static_cast<std::uint64_t>(training.sequence_length),
      .loss = result.loss,
      .grad_norm = result.grad_norm,
      .learning_rate = learning_rate,
      .seconds = seconds};
}

void Trainer::warm_up() {
  // The second adds to the weights' gradients, which is another product than the first's.
  const std::int64_t num = std::min<std::int64_t>(batch_shape_.num_micro_batches, 2);
  data::load_micro_batch(training_data_.sources(), batch_shape_, state_.samples_consumed, 0,
                         batch_);
  for (std::int64_t micro = 0; micro < num; ++micro)
    model_.stage.train(as_batch(batch_), 1.0F, /*first=*/micro == 0, [](int) {});
  model_.stage.take_loss_sum();
  share_gemm_algorithms(session_, rank_context_.context.gemm());
  rank_context_.context.use_graphs(parameters_.device.graphs);
  rank_context_.context.profiler().reset();
}

// The step loop. What else happens at a step is in the monitors (Trainer::add_monitors).
StopReason Trainer::run() {
  const std::int64_t& steps = parameters_.training.steps;  // may become fewer in a rollback
  if (rank_context_.gpu != nullptr && state_.step < steps) warm_up();
  for (const auto& monitor : monitors_) monitor->at_start();
  while (state_.step < steps && !exchange_->is_urgent() && !has_enough_steps()) {
    if (const std::optional<StepReport> report = train_step())
      for (const auto& monitor : monitors_) monitor->after_step(*report);
    else
      roll_back();
  }
  const bool all_steps = state_.step >= steps;
  for (const auto& monitor : monitors_) monitor->at_end(all_steps);
  checkpoints_->finish();
  return report_end(all_steps);
}

bool Trainer::has_enough_steps() const {
  const std::int64_t limit = parameters_.run.stop_after;
  return limit > 0 && state_.step - state_.first_step >= limit;
}

StopReason Trainer::report_end(bool all_steps) {
  if (all_steps && data_end_run_)
    log::info("the data ended after {} steps (data.end_of_data = \"stop\")", state_.step);
  if (parameters_.data.sources.size() > 1)
    log::info("samples taken: {}", training_data_.describe_consumed(state_.samples_consumed));
  log::info("{}", progress_->summary());
  log::info("{}", phase_table(rank_context_.context.profiler(), session_.world()));
  const bool validation_left = validation_ != nullptr && validation_->is_left();
  if (all_steps && !validation_left) return StopReason::finished;
  if (exchange_->stop_signal()) return StopReason::signal;
  return exchange_->out_of_time() ? StopReason::time_limit : StopReason::stop_after;
}

StepHooks Trainer::step_hooks(const StepFault& fault) {
  return {
      .exchange =
          [this](const StepSums& of_rank) { return exchange_->exchange(of_rank, slowest_step_s_); },
      .judge = [this](const StepFindings& findings) { return guard_->judge(findings); },
      .before_update =
          [this] {
            for (const auto& monitor : monitors_) monitor->before_update();
          },
      .before_overwrite = [this](std::int64_t state) { checkpoints_->before_overwrite(state); },
      .fault = fault};
}

}  // namespace espalier::train
