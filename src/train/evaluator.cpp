#include "train/evaluator.hpp"

#include <algorithm>
#include <array>
#include <chrono>
#include <cmath>
#include <limits>
#include <numbers>

#include "base/error.hpp"
#include "base/integers.hpp"
#include "train/step/programs.hpp"
#include "train/step/step.hpp"

namespace espalier::train {

ForwardLosses forward_losses(model::Stage& stage) {
  return {.group = 1, .pass = [&stage](int count, const std::function<model::Batch(int)>& load) {
            std::vector<double> sums;
            for (int micro = 0; micro < count; ++micro) sums.push_back(stage.evaluate(load(micro)));
            return sums;
          }};
}

ForwardLosses forward_losses(RankContext& rank_context, DistributedModel& model) {
  const pipeline::Placement& placement = model.memory.assignment.placement;
  const auto pass = [&](int count, const std::function<model::Batch(int)>& load) {
    std::vector<double> sums(static_cast<std::size_t>(count));
    const pipeline::RankProgram program =
        forward_program(placement, count, rank_context.grid.pipeline_rank());
    const RankPart part{.program = program,
                        .placement = placement,
                        .messages = model.memory.activations->messages,
                        .link = model.link.get()};
    play(rank_context.context, part, [&](const pipeline::Step& step) {
      const pipeline::Action& action = step.action;
      model::Stage& stage = model.stages[placement.chunk_of(action.stage)];
      stage.load(step.slot, load(action.micro_batch));
      stage.forward(step.slot, part.input_of(step), part.output_of(step));
      if (action.stage + 1 < placement.num_stages()) return;
      stage.add_losses(step.slot);
      sums[static_cast<std::size_t>(action.micro_batch)] = stage.take_loss_sum();
    });
    return sums;
  };
  return {.group = forward_group(placement), .pass = pass};
}

Evaluation evaluate(const ForwardLosses& losses, parallel::GridCommunicators& communicators,
                    const parallel::ProcessGrid& grid, const EvaluationSet& set,
                    std::int64_t micro_batch_size, std::int64_t sequence_length,
                    std::int64_t sequences, const MayGoOn& may_go_on, double round_s) {
  const std::uint64_t available = set.stream->num_samples(sequence_length);
  const std::uint64_t total =
      sequences == 0 ? available : std::min(available, static_cast<std::uint64_t>(sequences));
  const std::int64_t per_round = grid.shape().data * micro_batch_size;
  const std::int64_t rounds = div_ceil(static_cast<std::int64_t>(total), per_round);
  const data::ValidationShape shape{.sequence_length = sequence_length,
                                    .micro_batch_size = micro_batch_size,
                                    .documents = set.documents};
  data::MicroBatch batch;
  // Every rank runs the same number of forwards, so that collectives match; samples past the end
  // are ignored targets.
  double loss_sum = 0.0;
  constexpr double kNever = std::numeric_limits<double>::infinity();
  double not_finite = kNever;
  const auto start = std::chrono::steady_clock::now();
  std::int64_t round = 0;
  while (round < rounds) {
    if (round > 0)
      round_s = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count() /
                static_cast<double>(round);
    if (may_go_on && !may_go_on({round_s, round_s * static_cast<double>(rounds - round)})) break;
    const auto first_of = [&](std::int64_t number) {
      return (round + number) * per_round + grid.data_rank() * micro_batch_size;
    };
    const auto load = [&](int number) {
      data::load_validation_batch(*set.stream, shape, static_cast<std::uint64_t>(first_of(number)),
                                  total, batch);
      return as_batch(batch);
    };
    const int count = narrow<int>(std::min<std::int64_t>(losses.group, rounds - round));
    const std::vector<double> sums = losses.pass(count, load);
    for (int i = 0; i < count; ++i) {
      const double sum = sums[static_cast<std::size_t>(i)];
      loss_sum += loss_share(grid, sum);
      if (!std::isfinite(sum)) not_finite = std::min(not_finite, static_cast<double>(first_of(i)));
    }
    round += count;
  }
  std::array<double, 1> sums{loss_sum};
  communicators.world->all_reduce_sum(sums);
  std::array<double, 1> lowest{not_finite};
  communicators.world->all_reduce_min(lowest);
  Evaluation result;
  result.num_sequences = static_cast<std::int64_t>(total);
  result.sequences = std::min(round * per_round, result.num_sequences);
  result.round_s = round_s;
  if (lowest[0] < kNever) result.not_finite = static_cast<std::int64_t>(lowest[0]);
  result.tokens =
      data::count_targets(*set.stream, shape, static_cast<std::uint64_t>(result.sequences));
  result.loss = sums[0] / static_cast<double>(std::max<std::uint64_t>(result.tokens, 1));
  result.perplexity = std::exp(result.loss);
  result.bits_per_byte = result.loss / std::numbers::ln2 / set.bytes_per_token;
  return result;
}

void require_finite(const Evaluation& result, const std::string& what) {
  if (!result.not_finite && std::isfinite(result.loss)) return;
  fail_not_finite(what, result.loss,
                  fmt::format(", first at sequence {}", result.not_finite.value_or(0)));
}

void fail_not_finite(const std::string& what, double loss, const std::string& where) {
  throw Error(
      ExitStatus::bad_numbers,
      fmt::format("{}: the loss is {}{}. The weights are damaged, or their products overflow: look "
                  "into the checkpoint, or try training.dtype = \"float32\"",
                  what, loss, where),
      Met::by_every_rank);
}

}  // namespace espalier::train
