#include "kernels/embedding/embedding.hpp"
#include "kernels/embedding/positions.hpp"
#include "model/parts.hpp"
#include "model/transformer.hpp"

namespace espalier::model {

using device::ConstView;
using device::Phase;
using device::View;
using parallel::Rows;

Transformer::Transformer(const Architecture& architecture, Weights& weights,
                         Activations& activations, device::Context& context,
                         parallel::GridCommunicators& communicators)
    : architecture_(architecture),
      sizes_(weights.sizes()),
      weights_(weights),
      a_(activations),
      context_(context),
      comm_(communicators),
      boundary_(*communicators.tensor, activations.shape.splits_tokens,
                communicators.tensor_overlap.get()),
      branch_() {
  require_positions(architecture_, a_.shape.sequence_length);
  if (sizes_.rotates)
    kernels::fill_rope_table(context_, a_.rope, sizes_.head_dim, architecture_.rope_frequencies());
}

// x = embed(ids) (+ learned positions); per block: x += attention(norm(x)); x += mlp(norm(x)); then
// the final norm. The addition of a branch is fused into the norm that follows it.
void Transformer::forward(const Inputs& inputs) {
  const ModelTensors& w = weights_.weights;
  wait_for_bucket(sizes_.num_layers);  // the embeddings
  {
    auto phase = context_.profiler().scope(Phase::embedding);
    // Each rank looks up its part of the vocabulary; the sum over the tensor group completes it.
    View x = a_.shape.splits_tokens ? a_.branch : a_.blocks.front().x;
    kernels::embedding_forward(
        context_,
        {.tokens = inputs.tokens, .table = w.embedding, .first_row = sizes_.vocab_first, .out = x});
    boundary_.leave_forward(context_, x, a_.blocks.front().x);
    if (sizes_.num_positions > 0)
      kernels::positions_forward(context_, {.position_ids = local_position_ids(inputs),
                                            .table = w.position_embedding,
                                            .x = a_.blocks.front().x});
  }
  branch_ = {};
  for (std::int64_t layer = 0; layer < sizes_.num_layers; ++layer) {
    const auto l = static_cast<std::size_t>(layer);
    wait_for_bucket(layer);
    const ConstView before = layer == 0 ? a_.blocks[0].x : a_.blocks[l - 1].x_mid;
    run_block(Pass::forward, layer, /*first=*/false, inputs, [&] {
      residual_norm(before, w.blocks[l].input_layernorm, a_.blocks[l].x, a_.blocks[l].n1,
                    a_.blocks[l].norm1);
      attention_forward(layer, inputs);
      mlp_norm(layer);
      mlp_forward(layer);
    });
    // A graph that is launched again leaves its results, and nothing on the host.
    if (comm_.tensor->size() == 1) branch_ = a_.branch;
  }
  wait_for_bucket(sizes_.num_layers + 1);  // final norm and LM head
  residual_norm(a_.blocks.back().x_mid, w.final_norm, a_.x_final, a_.n_final, a_.norm_final);
}

ConstView Transformer::local_position_ids(const Inputs& inputs) const {
  const std::int64_t local = a_.shape.local_tokens();
  return inputs.position_ids.col_range(a_.shape.splits_tokens ? comm_.tensor->rank() * local : 0,
                                       local);
}

void Transformer::residual_norm(ConstView x, const NormTensors& weights, View residual, View y,
                                View statistics) {
  auto phase = context_.profiler().scope(Phase::norm);
  norm_forward(context_, architecture_,
               {.x = x,
                .delta = branch_,
                .weights = weights,
                .residual = residual,
                .y = y,
                .statistics = statistics});
}

void Transformer::mlp_norm(std::int64_t layer) {
  BlockActivations& b = a_.blocks[static_cast<std::size_t>(layer)];
  residual_norm(b.x,
                weights_.weights.blocks[static_cast<std::size_t>(layer)].post_attention_layernorm,
                b.x_mid, b.n2, b.norm2);
}

void Transformer::attention_forward(std::int64_t layer, const Inputs& inputs) {
  const BlockTensors& w = weights_.weights.blocks[static_cast<std::size_t>(layer)];
  BlockActivations& b = a_.blocks[static_cast<std::size_t>(layer)];
  boundary_.enter_forward(context_, b.n1, a_.gathered_a, [&](Rows rows, ConstView n1) {
    auto phase = context_.profiler().scope(Phase::projections);
    linear_forward(context_, rows.of(b.qkv), n1, w.qkv);
  });
  rotate(layer, inputs);
  {
    auto phase = context_.profiler().scope(Phase::attention);
    kernels::attention_forward(context_, attention_operands(layer, inputs).attention());
  }
  branch_ = boundary_.leave_forward(context_, a_.branch, a_.branch_local, [&](Rows rows) {
    auto phase = context_.profiler().scope(Phase::projections);
    linear_forward(context_, rows.of(a_.branch), rows.of(b.o), w.o, is_first_tensor_rank());
  });
}

// Without RoPE attention reads qkv itself.
void Transformer::rotate(std::int64_t layer, const Inputs& inputs) {
  if (!sizes_.rotates) return;
  const BlockTensors& w = weights_.weights.blocks[static_cast<std::size_t>(layer)];
  auto phase = context_.profiler().scope(Phase::rope);
  kernels::qk_norm_rope_forward(context_, attention_operands(layer, inputs).rotation(w));
}

void Transformer::mlp_forward(std::int64_t layer) {
  const BlockTensors& w = weights_.weights.blocks[static_cast<std::size_t>(layer)];
  BlockActivations& b = a_.blocks[static_cast<std::size_t>(layer)];
  boundary_.enter_forward(context_, b.n2, a_.gathered_a,
                          [&](Rows rows, ConstView n2) { gate_up_forward(layer, rows, n2); });
  {
    auto phase = context_.profiler().scope(Phase::activation);
    activation_forward(context_, architecture_.mlp, b.gate_up, a_.mlp_hidden);
  }
  branch_ = boundary_.leave_forward(context_, a_.branch, a_.branch_local, [&](Rows rows) {
    auto phase = context_.profiler().scope(Phase::mlp);
    linear_forward(context_, rows.of(a_.branch), rows.of(a_.mlp_hidden), w.down,
                   is_first_tensor_rank());
  });
}

void Transformer::gate_up_forward(std::int64_t layer, Rows rows, ConstView n2) {
  auto phase = context_.profiler().scope(Phase::mlp);
  linear_forward(context_, rows.of(a_.blocks[static_cast<std::size_t>(layer)].gate_up), n2,
                 weights_.weights.blocks[static_cast<std::size_t>(layer)].gate_up);
}

void Transformer::train(const Batch& batch, float loss_scale, bool first,
                        const BucketDone& bucket_done) {
  const Inputs inputs = gather_inputs(context_, a_, batch);
  forward(inputs);
  head(inputs, /*with_gradients=*/true, loss_scale, first);
  backward(inputs, first, bucket_done);
}

double Transformer::take_loss_sum() {
  const double sum = context_.download<double>(a_.loss_sum).front();
  const double zero = 0.0;
  context_.upload(a_.loss_sum, &zero);
  return sum;
}

double Transformer::evaluate(const Batch& batch) {
  const Inputs inputs = gather_inputs(context_, a_, batch);
  forward(inputs);
  head(inputs, /*with_gradients=*/false, 0.0F, false);
  return take_loss_sum();
}

}  // namespace espalier::model
