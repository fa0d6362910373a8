#pragma once
#include "config/parameters.hpp"
#include "data/batch.hpp"
#include "train/distributed_model.hpp"
#include "train/monitor.hpp"
#include "train/step/step.hpp"
#include "train/training_data.hpp"

namespace espalier::train {

/// The steps of a run on one rank: of which samples each is made, with which learning rate, and
/// what it moves on in RunState. A training takes them, and so does a replay, with the same bits.
class TrainingSteps {
 public:
  /// All of it outlives the steps. `parameters` are resolved; training.steps and RunState may be
  /// changed between steps.
  TrainingSteps(parallel::MpiSession& session, const config::Parameters& parameters,
                RankContext& rank_context, DistributedModel& model, const TrainingData& data,
                RunState& state);

  const data::DocumentRule& documents() const { return batch_shape_.documents; }

  struct Taken {
    StepResult result;
    double learning_rate;
  };
  /// The step behind RunState::step. Its samples are consumed afterwards; whether the step counts
  /// is for the caller to say. Collective.
  Taken take(const StepHooks& hooks);

  /// On a GPU: forward and backward of a micro-batch or two whose gradients are not used. Every
  /// matrix product is met, timed and agreed upon before the first step, which then has the bits of
  /// every other run on this grid. Elsewhere nothing. Collective.
  void warm_up();

 private:
  parallel::MpiSession& session_;
  const config::Parameters& parameters_;
  RankContext& rank_context_;
  DistributedModel& model_;
  const TrainingData& data_;
  RunState& state_;
  data::BatchShape batch_shape_;
  data::MicroBatch batch_;
};

}  // namespace espalier::train
