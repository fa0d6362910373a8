#include "train/trainer.hpp"

#include <algorithm>
#include <array>
#include <chrono>

#include "base/error.hpp"
#include "base/integers.hpp"
#include "base/log.hpp"
#include "optim/schedule.hpp"
#include "train/device_choice.hpp"
#include "train/gradient_dump.hpp"

namespace espalier::train {

using device::Phase;
using Clock = std::chrono::steady_clock;

// One step: batch, forward, backward, reduce, clip, update.
StepReport Trainer::train_step() {
  const auto start = Clock::now();
  const config::TrainingParameters& training = parameters_.training;
  // Targets that count, of all ranks: known without asking them.
  const std::uint64_t num_targets = data::count_targets(
      training_data_.sources(), training.sequence_length, batch_shape_.documents, samples_consumed_,
      static_cast<std::uint64_t>(training.global_batch_size));
  const double learning_rate = optim::learning_rate_at(parameters_.optimizer, parameters_.schedule,
                                                       step_ + 1, training.steps);
  const StepResult result = training_step(
      step_model(),
      {.num_micro_batches = batch_shape_.num_micro_batches,
       .num_targets = num_targets,
       .load =
           [this](std::int64_t micro) {
             auto phase = rank_context_.context.profiler().scope(Phase::data);
             data::load_micro_batch(training_data_.sources(), batch_shape_, samples_consumed_,
                                    micro, batch_);
             return as_batch(batch_);
           }},
      {.optimizer = parameters_.optimizer, .learning_rate = learning_rate, .step = step_ + 1},
      step_hooks());

  ++step_;
  samples_consumed_ += static_cast<std::uint64_t>(training.global_batch_size);
  return {.step = step_,
          .tokens = samples_consumed_ * static_cast<std::uint64_t>(training.sequence_length),
          .loss = result.loss,
          .grad_norm = result.grad_norm,
          .learning_rate = learning_rate,
          .seconds = std::chrono::duration<double>(Clock::now() - start).count()};
}

void Trainer::warm_up() {
  // The second adds to the weights' gradients, which is another product than the first's.
  const std::int64_t num = std::min<std::int64_t>(batch_shape_.num_micro_batches, 2);
  data::load_micro_batch(training_data_.sources(), batch_shape_, samples_consumed_, 0, batch_);
  for (std::int64_t micro = 0; micro < num; ++micro)
    model_.transformer.train(as_batch(batch_), 1.0F, /*first=*/micro == 0, [](int) {});
  model_.transformer.take_loss_sum();
  share_gemm_algorithms(session_, rank_context_.context.gemm());
  rank_context_.context.use_graphs(parameters_.device.graphs);
  rank_context_.context.profiler().reset();
}

StopReason Trainer::run() {
  const std::int64_t steps = parameters_.training.steps;
  if (rank_context_.gpu != nullptr && step_ < steps) warm_up();
  // Every checkpoint keeps the matrix algorithms, which the warm-up has chosen.
  checkpoints_ = std::make_unique<CheckpointDriver>(parameters_, rank_context_.context,
                                                    *model_.memory.optimizer,
                                                    rank_context_.grid.shape(), session_.world());
  // What a stop request cut off in the job before.
  if (step_ > 0 && is_due(parameters_.validation.interval)) validate();
  while (step_ < steps && !is_urgent() && !has_enough_steps()) {
    record(train_step());
    // Saving first: it goes on in the background while the validation runs, which changes no
    // weight, and is complete as soon as it is written.
    if (is_due(parameters_.checkpoint.interval)) save();
    if (is_due(parameters_.validation.interval)) validate();
  }
  const bool all_steps = step_ >= steps;
  if (!all_steps || parameters_.checkpoint.at_end) save();
  if (all_steps && parameters_.validation.at_end) validate();
  {
    auto phase = rank_context_.context.profiler().scope(Phase::checkpoint);
    checkpoints_->finish();
  }
  if (all_steps && data_end_run_)
    log::info("the data ended after {} steps (data.end_of_data = \"stop\")", step_);
  if (parameters_.data.sources.size() > 1)
    log::info("samples taken: {}", training_data_.describe_consumed(samples_consumed_));
  log::info("{}", progress_->summary());
  log::info("{}", phase_table(rank_context_.context.profiler(), session_.world()));
  if (all_steps && !validation_left_) return StopReason::finished;
  if (stop_signal_) return StopReason::signal;
  return out_of_time_ ? StopReason::time_limit : StopReason::stop_after;
}

void Trainer::record(const StepReport& report) {
  announce_epochs();
  slowest_step_s_ = std::max(slowest_step_s_, report.seconds);
  progress_->step(report);
  if (log_)
    log_->step({.step = report.step,
                .tokens = report.tokens,
                .loss = report.loss,
                .grad_norm = report.grad_norm,
                .learning_rate = report.learning_rate,
                .tokens_per_second = progress_->tokens_per_second(report)});
}

bool Trainer::has_enough_steps() const {
  const std::int64_t limit = parameters_.run.stop_after;
  return limit > 0 && step_ - first_step_ >= limit;
}

void Trainer::announce_epochs() {
  const auto step_samples = static_cast<std::uint64_t>(parameters_.training.global_batch_size);
  const std::string begun =
      training_data_.epochs_begun(samples_consumed_ - step_samples, samples_consumed_);
  if (!begun.empty()) log::info("step {}: {} begins", step_, begun);
}

// What the ranks tell each other once per step, in one all-reduce, before any weight changes.
StepSums Trainer::exchange(const StepSums& of_rank, double next_s) {
  auto phase = rank_context_.context.profiler().scope(Phase::clipping);
  const auto told = [](bool flag) { return flag ? 1.0 : 0.0; };
  std::vector<double> sums{loss_share(rank_context_.grid, of_rank.loss),
                           told(control_.signal_received()), told(control_.out_of_time(next_s)),
                           told(checkpoints_->is_written())};
  const std::ptrdiff_t num_scalars = std::ssize(sums);
  sums.insert(sums.end(), of_rank.square_sums.begin(), of_rank.square_sums.end());
  session_.world().all_reduce_sum(sums);
  const double loss = sums[0], stop_signals = sums[1], out_of_time = sums[2], written = sums[3];
  stop_signal_ = stop_signals > 0.0;
  out_of_time_ = out_of_time > 0.0;
  if (checkpoints_->is_saving() && written == static_cast<double>(session_.size())) {
    auto inner = rank_context_.context.profiler().scope(Phase::checkpoint);
    if (lock_) lock_->require_held();
    checkpoints_->commit();
  }
  return {.loss = loss, .square_sums = {sums.begin() + num_scalars, sums.end()}};
}

StepModel Trainer::step_model() {
  return {.context = rank_context_.context,
          .grid = rank_context_.grid,
          .communicators = model_.communicators,
          .transformer = model_.transformer,
          .parameters = *model_.memory.parameter_store,
          .gradient_norm = *model_.memory.gradient_norm,
          .optimizer = *model_.memory.optimizer};
}

StepHooks Trainer::step_hooks() {
  return {.exchange = [this](const StepSums& sums) { return exchange(sums, slowest_step_s_); },
          // A save of an earlier step is worth keeping.
          .before_failure = [this] { checkpoints_->finish(); },
          .remedy =
              "Continue from the last checkpoint with a lower optimizer.learning_rate or "
              "other data",
          .before_update =
              [this] {
                if (!parameters_.debug.dump_gradients || step_ > 0) return;
                const std::filesystem::path folder = parameters_.output.directory;
                dump_gradients(rank_context_.context, folder / "gradients.h5",
                               *model_.memory.parameter_store, session_.world());
              },
          .before_overwrite =
              [this](std::int64_t state) {
                if (!checkpoints_->is_saving()) return;
                auto phase = rank_context_.context.profiler().scope(Phase::checkpoint);
                checkpoints_->before_overwrite(state);
              }};
}

void Trainer::validate() {
  if (!validation_data_ || validated_step_ == step_) return;
  validation_left_ = true;
  if (is_urgent()) return;
  auto phase = rank_context_.context.profiler().scope(Phase::validation);
  // Between rounds as between steps: who wants to stop is heard, a written save made complete. One
  // that would not end in time is left to the next job.
  const auto may_go_on = [&](const Pace& pace) {
    exchange({}, pace.left_s);
    return !is_urgent();
  };
  const Evaluation result = evaluate(
      model_.transformer, model_.communicators, rank_context_.grid,
      {&validation_data_->stream(), validation_data_->bytes_per_token(), batch_shape_.documents},
      parameters_.training.micro_batch_size, parameters_.training.sequence_length,
      parameters_.validation.sequences, may_go_on, validation_round_s_);
  validation_round_s_ = result.round_s;
  if (result.not_finite) checkpoints_->finish();  // the steps up to here are worth keeping
  train::require_finite(result, fmt::format("validation at step {}", step_));
  if (!result.is_complete()) return leave_validation(result);
  validated_step_ = step_;
  validation_left_ = false;
  log::info(
      "validation at step {}: loss {:.5f}, perplexity {:.3f}, {:.4f} bits per byte ({} tokens)",
      step_, result.loss, result.perplexity, result.bits_per_byte, result.tokens);
  if (log_) log_->validation(step_, result.loss, result.bits_per_byte);
}

void Trainer::leave_validation(const Evaluation& result) {
  const std::string where = fmt::format("validation at step {}: ended after {} of {} sequences",
                                        step_, result.sequences, result.num_sequences);
  if (stop_signal_ || step_ > first_step_)
    return log::info("{}, {}; the next job makes it", where,
                     stop_signal_ ? "asked to stop" : "it would not end before the time limit");
  // The next job would hardly come further.
  out_of_time_ = false;
  validation_left_ = false;
  validated_step_ = step_;
  if (log::rank() == 0)
    log::warn(
        "{}: the job has not the time for it from its start, and it is left out. Set "
        "validation.sequences, or raise the time limit",
        where);
}

void Trainer::save() {
  if (saved_step_ == step_) return;
  saved_step_ = step_;
  auto phase = rank_context_.context.profiler().scope(Phase::checkpoint);
  checkpoints_->begin(checkpoint_info());
}

bool Trainer::is_due(std::int64_t interval) const {
  return interval > 0 && step_ % interval == 0;
}

}  // namespace espalier::train
