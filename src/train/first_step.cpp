#include "train/first_step.hpp"

#include <algorithm>

#include "base/error.hpp"
#include "base/integers.hpp"
#include "base/log.hpp"
#include "base/text.hpp"
#include "config/grid.hpp"
#include "plan/recompute_budget.hpp"
#include "plan/step_counts.hpp"
#include "train/distributed_model.hpp"

namespace espalier::train {
namespace {

/// Ids that the model has no embedding for: a damaged shard, or one of another tokenizer.
void require_ids(const data::MicroBatch& batch, std::int64_t vocab_size) {
  if (batch.samples.empty()) return;
  const std::uint32_t most = *std::max_element(batch.samples.begin(), batch.samples.end());
  require(most < static_cast<std::uint64_t>(vocab_size), ExitStatus::bad_data,
          "the first batch holds the id {}, but model.vocab_size is {}: the shards are damaged, or "
          "of another tokenizer",
          most, vocab_size);
}

}  // namespace

void read_first_batch(parallel::MpiSession& session, const config::Parameters& p,
                      const RunPosition& position) {
  const parallel::GridShape shape = config::grid_shape(p);
  const bool each_its_own = session.size() == shape.size();
  if (!each_its_own && session.rank() != 0) return;
  const parallel::ProcessGrid grid(shape, each_its_own ? session.rank() : 0);
  // Tokenizer and checksums were compared by check_files.
  const TrainingData data(p, /*tokenizer_identity=*/"", /*verify=*/false,
                          each_its_own ? &session : nullptr);
  const data::BatchShape batch_shape{
      .sequence_length = p.training.sequence_length,
      .micro_batch_size = p.training.micro_batch_size,
      .num_micro_batches =
          div_exact(p.training.global_batch_size, p.training.micro_batch_size * shape.data),
      .data_rank = grid.data_rank(),
      .documents = document_rule(p.data)};
  data::MicroBatch batch;
  for (std::int64_t micro = 0; micro < batch_shape.num_micro_batches; ++micro) {
    data::load_micro_batch(data.sources(), batch_shape, position.samples_consumed, micro, batch);
    require_ids(batch, p.model.vocab_size);
  }
  const std::uint64_t targets = data::count_targets(
      data.sources(), batch_shape.sequence_length, batch_shape.documents, position.samples_consumed,
      static_cast<std::uint64_t>(p.training.global_batch_size));
  if (each_its_own) session.world().barrier();
  const std::int64_t samples = batch_shape.num_micro_batches * batch_shape.micro_batch_size;
  log::info("the batch of step {} was read: {} sequences {}, with {} targets in all of it",
            position.step + 1, samples,
            each_its_own && session.size() > 1 ? "on each rank" : "of rank 0",
            with_commas(static_cast<std::int64_t>(targets)));
}

void count_first_step(const config::Parameters& p, const plan::Room& room) {
  const parallel::GridShape shape = config::grid_shape(p);
  config::Parameters chosen = p;
  if (plan::is_budget_open(p) && room.free_bytes <= 0)
    chosen.memory.recompute = "none";  // which mode it will be is not known without the GPU
  else
    chosen = plan::with_recompute_chosen(p, shape, room);
  const plan::StepCounts counts =
      plan::count_step(chosen, {shape, 0}, room.backend, room.compute_capability);
  log::info(
      "its operators are all there: {:.3g} GFLOP and {} of memory traffic on rank 0, which "
      "sends {}",
      1e-9 * counts.flops(), human_bytes(counts.bytes()),
      human_bytes(static_cast<double>(counts.sent_bytes())));
}

}  // namespace espalier::train
