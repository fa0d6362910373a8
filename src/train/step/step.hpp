#pragma once
#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <vector>

#include "config/parameters.hpp"
#include "device/context.hpp"
#include "model/rank_stages.hpp"
#include "optim/adamw.hpp"
#include "optim/expert_bias.hpp"
#include "optim/gradient_norm.hpp"
#include "parallel/comm/session.hpp"
#include "parallel/layout/grid.hpp"
#include "train/step/pass_clock.hpp"
#include "train/step/play.hpp"

namespace espalier::train {

/// What a step computes with on this rank. All of it outlives the step.
struct StepModel {
  device::Context& context;
  const parallel::ProcessGrid& grid;
  parallel::GridCommunicators& communicators;
  model::RankStages& stages;
  RankPart part;  ///< in the pipeline; without one, micro-batch after micro-batch
  parallel::ParameterStore& parameters;
  optim::GradientNorm& gradient_norm;
  optim::AdamW& optimizer;
  optim::ExpertBias* expert_bias = nullptr;  ///< null: experts are chosen without
  PassClock* pass_clock = nullptr;           ///< null: nobody asks
};

/// What a step learns from.
struct StepBatches {
  std::int64_t num_micro_batches;  ///< of this rank
  /// Targets that count, of all ranks: the loss is their mean. A step of documents of one token
  /// each may have none, and its loss and its gradient are 0.
  std::uint64_t num_targets;
  /// Of all ranks, for the losses that keep experts balanced, whose scale it is; 0: without them.
  std::int64_t num_sequences = 0;
  /// The micro-batch of a number, in memory that lasts until the next one is loaded. Every stage of
  /// a pipeline loads it, each for what it needs of it.
  std::function<model::Batch(std::int64_t micro)> load;
};

struct StepUpdate {
  const config::OptimizerParameters& optimizer;
  double learning_rate;
  std::int64_t step;  ///< from 1
  /// Steps before this one that changed no weight: the bias of the moments is that of the updates.
  std::int64_t num_left_out = 0;
};

/// What else every rank tells in the one all-reduce of a step: who was asked to stop or to save and
/// how, whose time is over, whose part of a save is done, whether one is due, who warns
/// (train::StepExchange).
constexpr std::size_t kNumStepSignals = 8;

/// What the ranks must know of each other before any weight changes: of one rank, or summed over
/// all of them.
struct StepSums {
  double loss = 0.0;                ///< of the tokens of all micro-batches
  std::vector<double> square_sums;  ///< of the gradients, by tensor (GradientNorm::square_sums)
  model::ExpertStatistics experts = {};
};

/// What the sums of a step say before any weight changes; the same on every rank.
struct StepFindings {
  std::int64_t step;
  double loss;  ///< mean over the targets, in nats
  double grad_norm;
  /// What of them is not finite, and on which ranks: "the loss is not finite on rank 3 (...)".
  /// Empty: both are finite.
  std::string not_finite = {};
};

/// A fault for trying what becomes of it (debug.faults): factors of this rank's loss and gradient.
struct StepFault {
  double loss_factor = 1.0;
  float gradient_factor = 1.0F;
};

/// What else happens in a step; whatever is left empty does not.
struct StepHooks {
  /// The sums over the ranks: the one all-reduce of a step, in which more may travel. Empty:
  /// sum_over_ranks.
  std::function<StepSums(const StepSums& of_rank)> exchange = {};
  /// Whether the step changes the weights, the same on every rank; throws to end the run. Empty:
  /// it does when loss and norm are finite, else fail_not_finite.
  std::function<bool(const StepFindings&)> judge = {};
  /// The gradients are reduced, finite and not yet clipped.
  std::function<void()> before_update = {};
  /// See optim::AdamW::update.
  std::function<void(std::int64_t state)> before_overwrite = {};
  StepFault fault = {};
};

/// The same on every rank.
struct StepResult {
  double loss;  ///< mean over the targets, in nats
  double grad_norm;
  bool updated = true;  ///< else judge said no, and weights and moments are what they were
  model::ExpertStatistics experts = {};
};

/// Throws Error (bad_numbers, met by every rank): what is not finite, and that no weight was
/// changed. `remedy`: its last sentence.
[[noreturn]] void fail_not_finite(const StepFindings& findings, const std::string& remedy);

/// One step of training: forward and backward of every micro-batch, reduction of the gradients,
/// clipping (Pascanu et al. 2013, arXiv:1211.5063), AdamW, gathering of the weights. Collective. On
/// a GPU it returns before the update is done. Without StepHooks::judge it throws what
/// fail_not_finite does when the loss or the gradient is not finite.
StepResult training_step(const StepModel& model, const StepBatches& batches,
                         const StepUpdate& update, const StepHooks& hooks = {});

/// A pass of one of this rank's stages. `load` gives its micro-batch to a forward pass; `backward`
/// says what a backward pass is to do, and gets its operands here.
void take_pass(const StepModel& model, const pipeline::Step& step,
               const std::function<model::Batch()>& load, model::Stage::BackwardPass backward);

/// Forward and backward passes of this rank's stages over `batch` whose gradients are not used, and
/// the sums of losses with them: as often as a step of `num_micro_batches` has different products,
/// which is twice at most. Stages pass on what happens to be in their buffers: no message between
/// stages is waited for. What a GPU does when it meets work for the first time, loading code and
/// timing matrix products with memory of their own, waits for all that runs there: it must not come
/// beside a message of a pipeline. Collective.
void warm_up_passes(const StepModel& model, const model::Batch& batch,
                    std::int64_t num_micro_batches);

/// The forward and backward passes of a step on this rank, with the sums of gradients that become
/// complete in them. `gradient_factor`: of the loss whose gradients they are.
void pass_micro_batches(const StepModel& model, const StepBatches& batches, float gradient_factor);

/// The tensor ranks of a group all have the group's loss, and stages without a head have 0: what a
/// rank adds to the sum of all.
double loss_share(const parallel::ProcessGrid& grid, double loss);

/// An all-reduce of nothing but the sums. Collective.
StepSums sum_over_ranks(const StepModel& model, const StepSums& of_rank);

}  // namespace espalier::train
