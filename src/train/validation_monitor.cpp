#include "train/validation_monitor.hpp"

#include "base/log.hpp"

namespace espalier::train {

ValidationMonitor::ValidationMonitor(const config::Parameters& parameters,
                                     RankContext& rank_context, DistributedModel& model,
                                     const Dataset& data, data::DocumentRule documents,
                                     const RunState& state, StepExchange& exchange,
                                     CheckpointMonitor& checkpoints, io::RunLog* log,
                                     std::int64_t validated_step)
    : parameters_(parameters),
      rank_context_(rank_context),
      model_(model),
      data_(data),
      documents_(documents),
      state_(state),
      exchange_(exchange),
      checkpoints_(checkpoints),
      log_(log),
      validated_step_(validated_step) {}

void ValidationMonitor::at_start() {
  if (state_.step > 0 && is_due(state_.step, parameters_.validation.interval)) validate();
}

void ValidationMonitor::after_step(const StepReport& report) {
  if (is_due(report.step, parameters_.validation.interval)) validate();
}

void ValidationMonitor::at_end(bool all_steps) {
  if (all_steps && parameters_.validation.at_end) validate();
}

void ValidationMonitor::validate() {
  if (validated_step_ == state_.step) return;
  is_left_ = true;
  if (exchange_.is_urgent()) return;
  const auto phase = rank_context_.context.profiler().scope(device::Phase::validation);
  // Between rounds as between steps: who wants to stop is heard, a written save made complete. One
  // that would not end in time is left to the next job.
  const auto may_go_on = [&](const Pace& pace) {
    exchange_.exchange({}, pace.left_s);
    return !exchange_.is_urgent();
  };
  const Evaluation result =
      evaluate(model_.transformer, model_.communicators, rank_context_.grid,
               {&data_.stream(), data_.bytes_per_token(), documents_},
               parameters_.training.micro_batch_size, parameters_.training.sequence_length,
               parameters_.validation.sequences, may_go_on, round_s_);
  round_s_ = result.round_s;
  if (result.not_finite) checkpoints_.finish();  // the steps up to here are worth keeping
  require_finite(result, fmt::format("validation at step {}", state_.step));
  if (!result.is_complete()) return leave(result);
  validated_step_ = state_.step;
  is_left_ = false;
  log::info(
      "validation at step {}: loss {:.5f}, perplexity {:.3f}, {:.4f} bits per byte ({} tokens)",
      state_.step, result.loss, result.perplexity, result.bits_per_byte, result.tokens);
  if (log_ != nullptr) log_->validation(state_.step, result.loss, result.bits_per_byte);
}

void ValidationMonitor::leave(const Evaluation& result) {
  const std::string where = fmt::format("validation at step {}: ended after {} of {} sequences",
                                        state_.step, result.sequences, result.num_sequences);
  const bool asked_to_stop = exchange_.stop_signal();
  if (asked_to_stop || state_.step > state_.first_step)
    return log::info("{}, {}; the next job makes it", where,
                     asked_to_stop ? "asked to stop" : "it would not end before the time limit");
  // The next job would hardly come further.
  exchange_.forget_time_limit();
  is_left_ = false;
  validated_step_ = state_.step;
  if (log::rank() == 0)
    log::warn(
        "{}: the job has not the time for it from its start, and it is left out. Set "
        "validation.sequences, or raise the time limit",
        where);
}

}  // namespace espalier::train
