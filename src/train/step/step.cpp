#include "train/step/step.hpp"

#include <fmt/core.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <vector>

#include "base/error.hpp"

namespace espalier::train {
namespace {

using Clock = std::chrono::steady_clock;

double seconds_since(Clock::time_point begin) {
  return std::chrono::duration<double>(Clock::now() - begin).count();
}

/// Rare, so it may cost collectives. A rank's own loss tells whose batch it was; the gradients have
/// been summed over the ranks by now, so they are asked only when every loss is finite.
std::string describe_not_finite(parallel::Communicator& world, const StepSums& of_rank,
                                const StepSums& sums) {
  const auto culprits = [&](double mine) {
    std::string ranks;
    const std::vector<double> all = world.all_gather(mine);
    for (std::size_t rank = 0; rank < all.size(); ++rank)
      if (!std::isfinite(all[rank])) ranks += fmt::format("{}{}", ranks.empty() ? "" : ", ", rank);
    return ranks;
  };
  const std::string by_loss = culprits(of_rank.loss);
  const std::string by_gradient = culprits(optim::squared_norm(of_rank.square_sums));
  const std::string where = !by_loss.empty() ? "the loss is not finite on rank " + by_loss
                            : !by_gradient.empty()
                                ? "the gradient is not finite on rank " + by_gradient
                                : "the gradient is not finite, but only in the sum over the ranks";
  return fmt::format("{} (sum of losses {}, sum of squared gradients {})", where, sums.loss,
                     optim::squared_norm(sums.square_sums));
}

}  // namespace

void take_pass(const StepModel& m, const pipeline::Step& step,
               const std::function<model::Batch()>& load, model::Stage::BackwardPass backward) {
  model::Stage& stage = m.stages[m.part.placement.chunk_of(step.action.stage)];
  backward.d_output = m.part.input_of(step);
  backward.d_input = m.part.output_of(step);
  switch (step.action.kind) {
    case pipeline::ActionKind::forward:
      stage.load(step.slot, load());
      return stage.forward(step.slot, m.part.input_of(step), m.part.output_of(step));
    case pipeline::ActionKind::backward:
      return stage.backward(step.slot, backward);
    case pipeline::ActionKind::backward_inputs:
      return stage.backward_inputs(step.slot, step.weight_slot, backward);
    case pipeline::ActionKind::backward_weights:
      return stage.backward_weights(step.slot, step.weight_slot, backward);
  }
}

// The second pass adds to the weights' gradients, which is another product than the first's.
void warm_up_passes(const StepModel& m, const model::Batch& batch, std::int64_t num_micro_batches) {
  const std::int64_t num = std::min<std::int64_t>(num_micro_batches, 2);
  for (std::int64_t micro = 0; micro < num; ++micro)
    for (const bool forward : {true, false})
      for (const pipeline::Step& step : m.part.program.steps)
        if (step.kind == pipeline::StepKind::compute && step.action.micro_batch == micro &&
            is_forward(step.action) == forward)
          take_pass(m, step, [&] { return batch; },
                    {.loss_scale = 1.0F,
                     .first = micro == 0,
                     .last = micro + 1 == num,
                     .bucket_done = [](int) {},
                     .num_sequences = 1.0});
  m.stages.take_loss_sum();
  m.stages.take_expert_statistics();
}

// The program of a rank without a pipeline is the forward and the backward pass of one micro-batch
// after another. The gradients of a stage are made in the order of the micro-batches in every
// program, so that they have the same bits; the last one completes them.
void pass_micro_batches(const StepModel& m, const StepBatches& batches, float gradient_factor) {
  const auto num_targets = static_cast<double>(std::max<std::uint64_t>(batches.num_targets, 1));
  const float loss_scale = static_cast<float>(1.0 / num_targets) * gradient_factor;
  std::int64_t forwards = 0;
  const Clock::time_point begin = Clock::now();
  play(m.context, m.part, [&](const pipeline::Step& step) {
    const std::int64_t micro = step.action.micro_batch;
    forwards += is_forward(step.action) ? 1 : 0;
    const bool last = micro + 1 == batches.num_micro_batches;
    const auto reduce_last = [&](int bucket) { m.parameters.accumulated(m.context, bucket, last); };
    const Clock::time_point pass_begin = Clock::now();
    take_pass(m, step, [&] { return batches.load(micro); },
              {.loss_scale = loss_scale,
               .first = micro == 0,
               .last = last,
               .bucket_done = reduce_last,
               .num_sequences = static_cast<double>(batches.num_sequences)});
    if (m.pass_clock == nullptr) return;
    PassClock::Sum& sum = m.pass_clock->passes[{step.action.kind, step.action.stage}];
    sum.seconds += seconds_since(pass_begin);
    ++sum.passes;
  });
  if (m.pass_clock != nullptr) m.pass_clock->steps.push_back(seconds_since(begin));
  ESPALIER_ASSERT(forwards == batches.num_micro_batches * m.part.placement.chunks,
                  "{} forward passes of {} micro-batches", forwards, batches.num_micro_batches);
}

StepResult training_step(const StepModel& m, const StepBatches& batches, const StepUpdate& update,
                         const StepHooks& hooks) {
  const auto num_targets = static_cast<double>(std::max<std::uint64_t>(batches.num_targets, 1));
  pass_micro_batches(m, batches, hooks.fault.gradient_factor);
  const double loss = m.stages.take_loss_sum() * hooks.fault.loss_factor;
  const std::span<const double> square_sums = m.gradient_norm.square_sums(m.context);
  const StepSums of_rank{.loss = loss,
                         .square_sums = {square_sums.begin(), square_sums.end()},
                         .experts = m.stages.take_expert_statistics()};
  const StepSums sums = hooks.exchange ? hooks.exchange(of_rank) : sum_over_ranks(m, of_rank);
  const double norm = std::sqrt(optim::squared_norm(sums.square_sums));
  StepFindings findings{.step = update.step, .loss = sums.loss / num_targets, .grad_norm = norm};
  if (!std::isfinite(sums.loss) || !std::isfinite(norm))
    findings.not_finite = describe_not_finite(*m.communicators.world, of_rank, sums);
  StepResult result{.loss = findings.loss, .grad_norm = norm, .experts = sums.experts};
  result.updated = hooks.judge ? hooks.judge(findings) : findings.not_finite.empty();
  if (!hooks.judge && !result.updated) fail_not_finite(findings, "Lower optimizer.learning_rate");
  if (!result.updated) return result;

  if (hooks.before_update) hooks.before_update();
  m.optimizer.update(m.context, update.optimizer,
                     {.learning_rate = update.learning_rate,
                      .gradient_scale = optim::clip_scale(norm, update.optimizer.max_grad_norm),
                      .step = update.step - update.num_left_out},
                     hooks.before_overwrite);
  if (m.expert_bias != nullptr && sums.experts.exist())
    m.expert_bias->update(m.context, sums.experts.choices);
  m.parameters.begin_gather(m.context);
  return result;
}

void fail_not_finite(const StepFindings& findings, const std::string& remedy) {
  throw Error(ExitStatus::bad_numbers,
              fmt::format("step {}: {}; no weight was changed. {}", findings.step,
                          findings.not_finite, remedy),
              Met::by_every_rank);
}

double loss_share(const parallel::ProcessGrid& grid, double loss) {
  return grid.tensor_rank() == 0 ? loss : 0.0;
}

StepSums sum_over_ranks(const StepModel& m, const StepSums& of_rank) {
  const auto phase = m.context.profiler().scope(device::Phase::clipping);
  std::vector<double> sums = of_rank.square_sums;
  sums.push_back(loss_share(m.grid, of_rank.loss));
  of_rank.experts.append_to(sums);
  m.communicators.world->all_reduce_sum(sums);
  const auto norms_end = sums.begin() + std::ssize(of_rank.square_sums);
  return {.loss = *norms_end,
          .square_sums = {sums.begin(), norms_end},
          .experts = model::ExpertStatistics::from({norms_end + 1, sums.end()}, of_rank.experts)};
}

}  // namespace espalier::train
