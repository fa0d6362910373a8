#include "train/trainer.hpp"

#include <chrono>

#include "base/activity.hpp"
#include "base/error.hpp"
#include "base/log.hpp"
#include "train/failure_record.hpp"

namespace espalier::train {

using Clock = std::chrono::steady_clock;

std::optional<StepReport> Trainer::train_step() {
  const auto start = Clock::now();
  activity::set_step(state_.step + 1);
  const StepFault fault = faults_->before_step(state_.step + 1);
  const auto [result, learning_rate] = steps_.take(step_hooks(fault));
  if (guard_->wants_rollback()) return std::nullopt;
  ++state_.step;
  if (!result.updated) ++state_.num_left_out;
  deadline_.step_done(control_.elapsed_s());
  const double seconds = std::chrono::duration<double>(Clock::now() - start).count();
  std::optional<model::ExpertLoad> experts;
  if (result.experts.exist())
    experts = model::ExpertLoad::of(result.experts, model_.memory.architecture);
  return StepReport{.step = state_.step,
                    .tokens = state_.samples_consumed *
                              static_cast<std::uint64_t>(parameters_.training.sequence_length),
                    .loss = result.loss,
                    .grad_norm = result.grad_norm,
                    .learning_rate = learning_rate,
                    .seconds = seconds,
                    .experts = std::move(experts)};
}

StopReason Trainer::run() {
  try {
    return take_steps();
  } catch (const std::exception& exception) {
    record_failure({parameters_.output.directory, job_number_, state_.step, session_.rank()},
                   exception);
    throw;
  }
}

// The step loop. What else happens at a step is in the monitors (Trainer::add_monitors).
StopReason Trainer::take_steps() {
  const std::int64_t& steps = parameters_.training.steps;  // may become fewer in a rollback
  // A request of the time of the start. A limit that is near already leaves one step.
  exchange_->between_steps(0.0);
  exchange_->forget_time_limit();
  if (state_.step < steps && !exchange_->is_urgent()) steps_.warm_up();
  for (const auto& monitor : monitors_) monitor->at_start();
  deadline_.begin(control_.elapsed_s());
  while (state_.step < steps && !exchange_->is_urgent() && !has_enough_steps()) {
    const double stalled_s = checkpoints_->stalled_s();
    const std::optional<StepReport> report = train_step();
    if (!report) {
      roll_back();
      continue;
    }
    record_->took_from_step(checkpoints_->stalled_s() - stalled_s);
    for (const auto& monitor : monitors_) monitor->after_step(*report);
  }
  const bool all_steps = state_.step >= steps;
  for (const auto& monitor : monitors_) monitor->at_end(all_steps);
  checkpoints_->finish();
  forget_triggers();
  return report_end(all_steps);
}

void Trainer::forget_triggers() {
  if (!triggers_) return;
  // What came after the last exchange is honoured by the end itself.
  triggers_->look(RunTriggers::Clock::now() + std::chrono::hours(1));
  if (checkpoints_->has_saved_state()) triggers_->honoured(Trigger::save);
  triggers_->honoured(Trigger::stop);
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
  const bool validation_left = validation_ != nullptr && validation_->is_left();
  const bool finished = all_steps && !validation_left;
  const StopReason reason = finished                   ? StopReason::finished
                            : exchange_->stop_signal() ? StopReason::signal
                            : exchange_->stop_file()   ? StopReason::file
                            : exchange_->out_of_time() ? StopReason::time_limit
                                                       : StopReason::stop_after;
  if (!finished) {
    // A signal may have come to another rank alone.
    const std::string why = name_of(reason);
    const std::string name = reason == StopReason::signal ? stop_signal_name() : why;
    monitored().record("stop", {{"reason", why}, {"by", name.empty() ? why : name}});
  }
  const ExitStatus status = finished ? ExitStatus::ok : ExitStatus::stopped_early;
  const runs::JobReport report =
      record_->finish(finished ? "finished" : "stopped", name_of(reason), static_cast<int>(status),
                      checkpoints_->stalled_s(), planned_, lock_.get());
  log::info("{}", describe(report));
  if (job_files_.status != nullptr)
    job_files_.status->end(finished ? runs::State::finished : runs::State::stopped);
  return reason;
}

StepHooks Trainer::step_hooks(const StepFault& fault) {
  return {.exchange = [this](const StepSums& of_rank) { return exchange_->in_step(of_rank); },
          .judge = [this](const StepFindings& findings) { return guard_->judge(findings); },
          .before_update =
              [this] {
                for (const auto& monitor : monitors_) monitor->before_update();
              },
          .before_overwrite = [this](std::int64_t state) { checkpoints_->before_overwrite(state); },
          .fault = fault};
}

}  // namespace espalier::train
