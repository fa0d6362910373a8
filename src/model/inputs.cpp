#include "model/inputs.hpp"

#include <span>
#include <vector>

#include "kernels/embedding/batch_inputs.hpp"

namespace espalier::model {

using device::ConstView;
using device::Phase;
using device::View;

namespace {

/// Which tokens of the batch this rank has.
void share_tokens(device::Context& context, const Activations& a, const ContextInputs& to,
                  const Batch& batch, int context_rank) {
  if (context.is_counting()) return;  // the batch has no tokens
  const parallel::ContextBlocks blocks = context_blocks(a.shape);
  std::span<const std::int32_t> document_positions;
  if (batch.document_mask)
    document_positions = {batch.document_positions.as<std::int32_t>(),
                          static_cast<std::size_t>(batch.document_positions.size())};
  const std::vector<std::int32_t> starts =
      parallel::block_starts(blocks, document_positions, a.shape.sequence_length + 1);
  const parallel::ContextOrder order = parallel::context_order(blocks, starts);
  context.upload(to.block_starts, starts.data() + context_rank * to.block_starts.size());
  context.upload(to.row_of_token, order.row_of_token.data());
  context.upload(to.token_of_row, order.token_of_row.data());
}

}  // namespace

void gather_inputs(device::Context& context, Activations& a, Slot& slot, const Batch& batch,
                   int context_rank) {
  const auto phase = context.profiler().scope(Phase::embedding);
  ConstView samples = batch.samples, places = batch.document_positions;
  if (!context.on_host()) {
    context.upload(a.samples, samples.data);
    samples = a.samples;
    if (places.exists()) {
      context.upload(a.document_positions, places.data);
      places = a.document_positions;
    }
  }
  if (a.shape.context_size > 1) share_tokens(context, a, slot.context, batch, context_rank);
  const View document_start = batch.document_mask ? slot.document_start : View{};
  kernels::batch_inputs(context, {.samples = samples,
                                  .document_positions = places,
                                  .num_counted = batch.num_counted,
                                  .predict_across = batch.predict_across,
                                  .tokens = slot.tokens,
                                  .targets = slot.targets,
                                  .position_ids = slot.position_ids,
                                  .document_start = document_start,
                                  .block_starts = slot.context.block_starts,
                                  .block_length = a.attention.block_length});
  slot.inputs = {slot.tokens, slot.targets, slot.position_ids, document_start, slot.context};
}

}  // namespace espalier::model
