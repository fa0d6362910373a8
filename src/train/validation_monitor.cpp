#include "train/validation_monitor.hpp"

#include <algorithm>
#include <chrono>
#include <utility>

#include "base/activity.hpp"
#include "base/log.hpp"

namespace espalier::train {

using Clock = std::chrono::steady_clock;

ValidationMonitor::ValidationMonitor(const MonitoredRun& run, const Dataset& data,
                                     data::DocumentRule documents, StepExchange& exchange,
                                     CheckpointMonitor& checkpoints, Deadline& deadline,
                                     io::RunLog* log, std::int64_t validated_step, Tell tell)
    : run_(run),
      data_(data),
      documents_(documents),
      exchange_(exchange),
      checkpoints_(checkpoints),
      deadline_(deadline),
      log_(log),
      validated_step_(validated_step),
      tell_(std::move(tell)) {}

void ValidationMonitor::at_start() {
  if (run_.state.step > 0 && is_due(run_.state.step, run_.parameters.validation.interval))
    validate();
}

void ValidationMonitor::after_step(const StepReport& report) {
  if (is_due(report.step, run_.parameters.validation.interval)) validate();
}

void ValidationMonitor::at_end(bool all_steps) {
  if (all_steps && run_.parameters.validation.at_end) validate();
}

void ValidationMonitor::after_rollback() {
  // The row of an earlier validation, at this step or before, is still in validation.csv.
  validated_step_ = std::min(validated_step_, run_.state.step);
  is_left_ = false;
}

void ValidationMonitor::validate() {
  if (validated_step_ == run_.state.step) return;
  is_left_ = true;
  if (exchange_.is_urgent()) return;
  const auto phase = run_.rank_context.context.profiler().scope(device::Phase::validation);
  const auto start = Clock::now();
  // Between rounds as between steps: who wants to stop is heard, a written save made complete. One
  // that would not end in time is left to the next job.
  const auto may_go_on = [&](const Pace& pace) {
    activity::enter("validation");
    exchange_.between_steps(pace.left_s);
    return !exchange_.is_urgent();
  };
  const Evaluation result =
      evaluate(forward_losses(run_.rank_context, run_.model), run_.model.communicators,
               run_.rank_context.grid, {&data_.stream(), data_.bytes_per_token(), documents_},
               run_.parameters.training.micro_batch_size, run_.parameters.training.sequence_length,
               run_.parameters.validation.sequences, may_go_on, round_s_);
  round_s_ = result.round_s;
  if (result.not_finite) checkpoints_.finish();  // the steps up to here are worth keeping
  require_finite(result, fmt::format("validation at step {}", run_.state.step));
  const double seconds = std::chrono::duration<double>(Clock::now() - start).count();
  deadline_.leave_out(seconds);
  if (!result.is_complete()) return leave(result);
  validated_step_ = run_.state.step;
  is_left_ = false;
  log::info(
      "validation at step {}: loss {:.5f}, perplexity {:.3f}, {:.4f} bits per byte ({} tokens)",
      run_.state.step, result.loss, result.perplexity, result.bits_per_byte, result.tokens);
  if (log_ != nullptr) log_->validation(run_.state.step, result.loss, result.bits_per_byte);
  tell_({.step = run_.state.step,
         .tokens = result.tokens,
         .loss = result.loss,
         .bits_per_byte = result.bits_per_byte,
         .seconds = seconds});
  // Whether there is time for another step: the last look was before the last round.
  exchange_.between_steps(deadline_.period_s() + deadline_.rest_s());
}

void ValidationMonitor::leave(const Evaluation& result) {
  const std::string where = fmt::format("validation at step {}: ended after {} of {} sequences",
                                        run_.state.step, result.sequences, result.num_sequences);
  const bool asked_to_stop = exchange_.asked_to_stop();
  if (asked_to_stop || run_.state.step > run_.state.first_step)
    return log::info("{}, {}; the next job makes it", where,
                     asked_to_stop ? "asked to stop" : "it would not end before the time limit");
  // The next job would hardly come further.
  exchange_.forget_time_limit();
  is_left_ = false;
  validated_step_ = run_.state.step;
  if (log::rank() == 0)
    log::warn(
        "{}: it does not fit into this job's time limit even as the first thing done, so it is "
        "skipped. Lower validation.sequences, or raise the time limit",
        where);
}

}  // namespace espalier::train
