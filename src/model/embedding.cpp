#include "kernels/embedding/embedding.hpp"

#include "kernels/embedding/positions.hpp"
#include "model/stage.hpp"

namespace espalier::model {

using device::ConstView;
using device::Phase;
using device::View;

// Each rank looks up its part of the vocabulary; the sum over the tensor group completes it.
void Stage::embedding_forward(const Slot& slot) {
  const Using weights(*this, buckets().embedding());
  const auto phase = context_.profiler().scope(Phase::embedding);
  const ModelTensors& w = weights_.weights;
  const View x = a_.shape.splits_tokens ? a_.branch : slot.input();
  kernels::embedding_forward(context_, {.tokens = slot.inputs.tokens,
                                        .table = w.embedding,
                                        .first_row = sizes_.vocab_first,
                                        .out = x});
  boundary_.leave_forward(context_, x, slot.input());
  if (sizes_.num_positions > 0)
    kernels::positions_forward(context_, {.position_ids = local_position_ids(slot),
                                          .table = w.position_embedding,
                                          .x = slot.input()});
}

// The embedding acts on all tokens of its part of the vocabulary.
void Stage::embedding_backward(const Slot& slot) {
  const ModelTensors& g = weights_.gradients;
  const ConstView dx = boundary_.leave_backward(context_, a_.d_residual, a_.gathered_a);
  const auto phase = context_.profiler().scope(Phase::embedding);
  kernels::embedding_backward(context_, {.tokens = slot.inputs.tokens,
                                         .d_out = dx,
                                         .first_row = sizes_.vocab_first,
                                         .d_table = g.embedding,
                                         .order = a_.token_order});
  if (sizes_.num_positions > 0)
    kernels::positions_backward(context_, {.position_ids = local_position_ids(slot),
                                           .dx = a_.d_residual,
                                           .d_table = g.position_embedding});
}

ConstView Stage::local_position_ids(const Slot& slot) const {
  const std::int64_t local = a_.shape.local_tokens();
  return slot.inputs.position_ids.col_range(
      a_.shape.splits_tokens ? comm_.tensor->rank() * local : 0, local);
}

}  // namespace espalier::model
