#include "train/evaluator.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <numbers>

#include "base/integers.hpp"

namespace espalier::train {

Evaluation evaluate(model::Transformer& transformer, parallel::GridCommunicators& communicators,
                    const parallel::ProcessGrid& grid, const EvaluationSet& set,
                    std::int64_t micro_batch_size, std::int64_t sequence_length,
                    std::int64_t sequences) {
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
  for (std::int64_t round = 0; round < rounds; ++round) {
    const std::int64_t first = round * per_round + grid.data_rank() * micro_batch_size;
    data::load_validation_batch(*set.stream, shape, static_cast<std::uint64_t>(first), total,
                                batch);
    const double sum = transformer.evaluate(as_batch(batch));
    if (grid.tensor_rank() == 0) loss_sum += sum;
  }
  std::array<double, 1> sums{loss_sum};
  communicators.world->all_reduce_sum(sums);
  Evaluation result;
  result.tokens = data::count_targets(*set.stream, shape, total);
  result.loss = sums[0] / static_cast<double>(std::max<std::uint64_t>(result.tokens, 1));
  result.perplexity = std::exp(result.loss);
  result.bits_per_byte = result.loss / std::numbers::ln2 / set.bytes_per_token;
  return result;
}

}  // namespace espalier::train
