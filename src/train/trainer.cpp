#include "train/trainer.hpp"

#include <algorithm>
#include <array>
#include <chrono>
#include <cmath>

#include "base/error.hpp"
#include "base/integers.hpp"
#include "base/log.hpp"
#include "optim/schedule.hpp"
#include "train/device_choice.hpp"
#include "train/gradient_dump.hpp"

namespace espalier::train {

using device::Phase;
using Clock = std::chrono::steady_clock;

/// What the ranks tell each other once per step, in one all-reduce, before any weight changes.
struct Trainer::StepScalars {
  double loss = 0.0;          ///< sum of token losses of the step
  double square_sum = 0.0;    ///< of the gradients
  double stop_signals = 0.0;  ///< ranks that got a signal
  double out_of_time = 0.0;   ///< ranks that see the time limit coming
  double written = 0.0;       ///< ranks whose part of the running save is on disk
};

// One step: batch, forward, backward, reduce, clip, update.
StepReport Trainer::train_step() {
  const auto start = Clock::now();
  optim::Optimizer& optimizer = *model_.memory.optimizer;
  const config::TrainingParameters& training = parameters_.training;
  // Targets that count, of all ranks: known without asking them.
  const std::uint64_t num_targets = data::count_targets(
      training_data_.sources(), training.sequence_length, batch_shape_.documents, samples_consumed_,
      static_cast<std::uint64_t>(training.global_batch_size));
  // A step of documents of one token each may have none: its loss and its gradient are 0.
  const auto step_targets = static_cast<double>(std::max<std::uint64_t>(num_targets, 1));

  for (std::int64_t micro = 0; micro < batch_shape_.num_micro_batches; ++micro) {
    {
      auto phase = rank_context_.context.profiler().scope(Phase::data);
      data::load_micro_batch(training_data_.sources(), batch_shape_, samples_consumed_, micro,
                             batch_);
    }
    const bool last = micro + 1 == batch_shape_.num_micro_batches;
    const auto reduce = [&](int bucket) {
      if (last) optimizer.reduce_bucket(rank_context_.context, model_.communicators, bucket);
    };
    model_.transformer.train(as_batch(batch_), static_cast<float>(1.0 / step_targets),
                             /*first=*/micro == 0, reduce);
  }
  const double loss_sum = model_.transformer.take_loss_sum();

  const std::span<const double> square_sums = optimizer.square_sums(rank_context_.context);
  const StepScalars sums = exchange_step_scalars(loss_sum, square_sums, slowest_step_s_);
  // Before any weight is touched.
  require_finite(sums, loss_sum, optim::squared_norm(square_sums));

  if (parameters_.debug.dump_gradients && step_ == 0)
    dump_gradients(rank_context_.context,
                   std::filesystem::path(parameters_.output.directory) / "gradients.h5", optimizer,
                   session_.world());
  const double norm = std::sqrt(sums.square_sum);
  const double learning_rate = optim::learning_rate_at(parameters_.optimizer, parameters_.schedule,
                                                       step_ + 1, training.steps);
  optimizer.update(rank_context_.context, parameters_.optimizer,
                   {.learning_rate = learning_rate,
                    .gradient_scale = optim::clip_scale(norm, parameters_.optimizer.max_grad_norm),
                    .step = step_ + 1},
                   [&](std::int64_t state) {
                     if (!checkpoints_->is_saving()) return;
                     auto phase = rank_context_.context.profiler().scope(Phase::checkpoint);
                     checkpoints_->before_overwrite(state);
                   });
  optimizer.begin_gather_weights(rank_context_.context, model_.communicators, forward_order_);

  ++step_;
  samples_consumed_ += static_cast<std::uint64_t>(training.global_batch_size);
  return {.step = step_,
          .tokens = samples_consumed_ * static_cast<std::uint64_t>(training.sequence_length),
          .loss = sums.loss / step_targets,
          .grad_norm = norm,
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
                                                    *model_.memory.optimizer, session_.world());
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

Trainer::StepScalars Trainer::exchange_step_scalars(double loss_sum,
                                                    std::span<const double> square_sums,
                                                    double next_s) {
  auto phase = rank_context_.context.profiler().scope(Phase::clipping);
  // The tensor ranks of a group all have the group's loss: one of them tells it.
  const std::array<double, 4> mine{rank_context_.grid.tensor_rank() == 0 ? loss_sum : 0.0,
                                   control_.signal_received() ? 1.0 : 0.0,
                                   control_.out_of_time(next_s) ? 1.0 : 0.0,
                                   checkpoints_->is_written() ? 1.0 : 0.0};
  std::vector<double>& values = exchanged_;
  values.assign(mine.begin(), mine.end());
  values.insert(values.end(), square_sums.begin(), square_sums.end());
  session_.world().all_reduce_sum(values);
  const double square_sum = optim::squared_norm(std::span(values).subspan(mine.size()));
  const StepScalars sums{values[0], square_sum, values[1], values[2], values[3]};
  stop_signal_ = sums.stop_signals > 0.0;
  out_of_time_ = sums.out_of_time > 0.0;
  if (checkpoints_->is_saving() && sums.written == static_cast<double>(session_.size())) {
    auto inner = rank_context_.context.profiler().scope(Phase::checkpoint);
    if (lock_) lock_->require_held();
    checkpoints_->commit();
  }
  return sums;
}

void Trainer::require_finite(const StepScalars& sums, double loss_sum, double square_sum) {
  if (std::isfinite(sums.loss) && std::isfinite(sums.square_sum)) return;
  // Rare, so it may cost collectives. A rank's own loss tells whose batch it was; the gradients
  // have been summed over the ranks by now, so they are asked only when every loss is finite.
  const auto culprits = [&](double mine) {
    std::string ranks;
    const std::vector<double> all = session_.world().all_gather(mine);
    for (std::size_t rank = 0; rank < all.size(); ++rank)
      if (!std::isfinite(all[rank])) ranks += fmt::format("{}{}", ranks.empty() ? "" : ", ", rank);
    return ranks;
  };
  const std::string by_loss = culprits(loss_sum);
  const std::string by_gradient = culprits(square_sum);
  checkpoints_->finish();  // a save of an earlier step is worth keeping
  throw Error(
      ExitStatus::internal,
      fmt::format("step {}: the {} is not finite on rank {} (sum of losses {}, sum of squared "
                  "gradients {}); no weight was changed. Continue from the last checkpoint with a "
                  "lower optimizer.learning_rate or other data",
                  step_ + 1, by_loss.empty() ? "gradient" : "loss",
                  by_loss.empty() ? (by_gradient.empty() ? "none (only in their sum)" : by_gradient)
                                  : by_loss,
                  sums.loss, sums.square_sum),
      Met::by_every_rank);
}

void Trainer::validate() {
  if (!validation_data_ || validated_step_ == step_) return;
  validation_left_ = true;
  if (is_urgent()) return;
  auto phase = rank_context_.context.profiler().scope(Phase::validation);
  // Between rounds as between steps: who wants to stop is heard, a written save made complete. One
  // that would not end in time is left to the next job.
  const auto may_go_on = [&](const Pace& pace) {
    exchange_step_scalars(0.0, {}, pace.left_s);
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
