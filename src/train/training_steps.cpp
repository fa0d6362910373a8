#include "train/training_steps.hpp"

#include <algorithm>

#include "base/integers.hpp"
#include "optim/schedule.hpp"
#include "train/device_choice.hpp"

namespace espalier::train {

using device::Phase;

TrainingSteps::TrainingSteps(parallel::MpiSession& session, const config::Parameters& parameters,
                             RankContext& rank_context, DistributedModel& model,
                             const TrainingData& data, RunState& state)
    : session_(session),
      parameters_(parameters),
      rank_context_(rank_context),
      model_(model),
      data_(data),
      state_(state),
      batch_shape_{.sequence_length = parameters.training.sequence_length,
                   .micro_batch_size = parameters.training.micro_batch_size,
                   .num_micro_batches = div_exact(
                       parameters.training.global_batch_size,
                       parameters.training.micro_batch_size * rank_context.grid.shape().data),
                   .data_rank = rank_context.grid.data_rank(),
                   .documents = document_rule(parameters.data)} {}

// One step: batch, forward, backward, reduce, clip, update.
TrainingSteps::Taken TrainingSteps::take(const StepHooks& hooks) {
  const config::TrainingParameters& training = parameters_.training;
  const auto num_samples = static_cast<std::uint64_t>(training.global_batch_size);
  // Targets that count, of all ranks: known without asking them.
  const std::uint64_t num_targets =
      data::count_targets(data_.sources(), training.sequence_length, batch_shape_.documents,
                          state_.samples_consumed, num_samples);
  const double learning_rate = optim::learning_rate_at(parameters_.optimizer, parameters_.schedule,
                                                       state_.step + 1, training.steps);
  const StepResult result =
      training_step(model_.step_model(rank_context_),
                    {.num_micro_batches = batch_shape_.num_micro_batches,
                     .num_targets = num_targets,
                     .num_sequences = training.global_batch_size,
                     .load =
                         [this](std::int64_t micro) {
                           auto phase = rank_context_.context.profiler().scope(Phase::data);
                           data::load_micro_batch(data_.sources(), batch_shape_,
                                                  state_.samples_consumed, micro, batch_);
                           return as_batch(batch_);
                         }},
                    {.optimizer = parameters_.optimizer,
                     .learning_rate = learning_rate,
                     .step = state_.step + 1,
                     .num_left_out = state_.num_left_out},
                    hooks);
  state_.samples_consumed += num_samples;
  return {result, learning_rate};
}

void TrainingSteps::warm_up() {
  if (rank_context_.gpu == nullptr) return;
  data::load_micro_batch(data_.sources(), batch_shape_, state_.samples_consumed, 0, batch_);
  warm_up_passes(model_.step_model(rank_context_), as_batch(batch_),
                 batch_shape_.num_micro_batches);
  share_gemm_algorithms(session_, rank_context_.context.gemm(),
                        rank_context_.grid.shape().pipeline);
  rank_context_.context.use_graphs(parameters_.device.graphs);
  rank_context_.context.profiler().reset();
}

}  // namespace espalier::train
