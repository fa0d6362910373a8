#include "model/stage.hpp"

#include "kernels/elementwise.hpp"
#include "model/parts.hpp"

namespace espalier::model {

using device::ConstView;
using device::Phase;
using device::View;

Stage::Stage(const Architecture& architecture, Weights& weights, Activations& activations,
             device::Context& context, parallel::GridCommunicators& communicators,
             std::size_t chunk)
    : architecture_(architecture),
      sizes_(weights.sizes()),
      weights_(weights),
      a_(activations),
      chunk_(activations.chunks.at(chunk)),
      context_(context),
      comm_(communicators),
      boundary_(*communicators.tensor, activations.shape.splits_tokens,
                communicators.tensor_overlap.get()),
      graph_keys_(context.reserve_graph_keys()) {
  require_positions(architecture_, a_.shape.sequence_length);
  if (sizes_.rotates)
    kernels::fill_rope_table(context_, a_.rope, sizes_.head_dim, architecture_.rope_frequencies());
  if (!a_.experts.pairs.exists()) return;
  const ExpertSizes numbers =
      ExpertSizes::of(sizes_, a_.shape.local_tokens(), a_.shape.experts.capacity_factor);
  experts_ = std::make_unique<Experts>(Experts::Place{.architecture = architecture_,
                                                      .sizes = sizes_,
                                                      .options = a_.shape.experts,
                                                      .capacity = numbers.capacity,
                                                      .scratch = a_.experts,
                                                      .bias = a_.expert_bias,
                                                      .context = context_,
                                                      .communicators = comm_});
  expert_balance_ = std::make_unique<ExpertBalance>(sizes_, a_.shape, a_.experts, context_, comm_);
  expert_counts_.resize(chunk_.slots.size() * static_cast<std::size_t>(extent().num_layers));
}

Stage::Block Stage::block_of(int slot, int weight_slot, std::int64_t index) const {
  const Slot& s = chunk_.slots[static_cast<std::size_t>(slot)];
  const auto i = static_cast<std::size_t>(index);
  const std::int64_t layer = extent().first + index;
  const DeferredProducts* deferred = nullptr;
  if (weight_slot != kNoWeightSlot)
    deferred = &chunk_.deferred[static_cast<std::size_t>(weight_slot)][i];
  return {.layer = layer,
          .recompute = a_.shape.recompute.of(layer),
          .slot = s,
          .b = s.blocks[i],
          .deferred = deferred,
          .place = static_cast<std::size_t>(slot) * s.blocks.size() + i,
          .w = weights_.weights.blocks[static_cast<std::size_t>(layer)]};
}

void Stage::load(int slot, const Batch& batch) {
  gather_inputs(context_, a_, slot_of(slot), batch,
                comm_.context == nullptr ? 0 : comm_.context->rank());
}

// x = embed(ids) (+ learned positions); per block: x += attention(norm(x)); x += mlp(norm(x)); then
// the final norm. The addition of a branch is fused into the norm that follows it, or comes before
// the residual stream leaves for the next stage.
void Stage::forward(int slot, ConstView input, View output) {
  const Slot& s = slot_of(slot);
  if (extent().has_embedding)
    embedding_forward(s);
  else
    kernels::cast(context_, s.input(), input);
  ConstView x = s.input(), branch{};
  for (std::int64_t i = 0; i < extent().num_layers; ++i) {
    const Block block = block_of(slot, kNoWeightSlot, i);
    const Using weights(*this, buckets().of_block(block.layer));
    run_block(Pass::forward, slot, kNoWeightSlot, block, /*first=*/false, [&] {
      residual_norm(x, branch, block.w.input_layernorm, block.b.x, block.b.n1, block.b.norm1);
      branch = mlp_forward(block, attention_forward(block));
    });
    if (comm_.tensor->size() == 1) branch = a_.branch;  // also after a graph
    x = block.b.x_mid;
    if (block.recompute != Recompute::none) a_.shared_buffers = {slot, block.layer};
    between_blocks();
  }
  if (!extent().has_head) {
    const auto phase = context_.profiler().scope(Phase::norm);
    if (!branch.exists()) return kernels::cast(context_, output, x);
    return kernels::residual_add(context_, {.x = x, .delta = branch, .out = output});
  }
  const Using weights(*this, buckets().head());
  residual_norm(x, branch, weights_.weights.final_norm, s.x_final, s.n_final, s.norm_final);
}

void Stage::backward(int slot, const BackwardPass& pass) {
  backward_of_inputs(slot, kNoWeightSlot, pass);
}

void Stage::backward_inputs(int slot, int weight_slot, const BackwardPass& pass) {
  ESPALIER_ASSERT(weight_slot >= 0, "gradients of inputs alone without a weight slot");
  backward_of_inputs(slot, weight_slot, pass);
}

// The forward pass backwards. a_.d_residual carries the gradient of the residual stream from block
// to block.
void Stage::backward_of_inputs(int slot, int weight_slot, const BackwardPass& pass) {
  const Slot& s = slot_of(slot);
  if (pass.first) clear_gradients_without_gemm();
  if (experts_) begin_balance(slot, pass);
  if (extent().has_head) {
    const Using norm(*this, buckets().head()), lm_head(*this, lm_head_bucket());
    head(s, /*with_gradients=*/true, pass.loss_scale, pass.first);
    const View d_n = boundary_.finish_enter_backward(context_, a_.branch, a_.branch_local);
    norm_backward(d_n, s.x_final, weights_.weights.final_norm, s.norm_final, /*d_residual=*/{},
                  weights_.gradients.final_norm);
    pass.bucket_done(buckets().head());
    // The embedding's copy of a tied weight, which is on another rank.
    if (architecture_.tied && !buckets().has_embedding()) pass.bucket_done(lm_head_bucket());
    between_blocks();
  } else {
    kernels::cast(context_, a_.d_residual, pass.d_output);
  }
  for (std::int64_t i = extent().num_layers - 1; i >= 0; --i) {
    const Block block = block_of(slot, weight_slot, i);
    {
      const Using weights(*this, buckets().of_block(block.layer));
      run_block(Pass::backward, slot, weight_slot, block, pass.first, [&] {
        const bool recomputed = recompute_block(slot, block);
        if (has_experts(block))
          experts_backward(block, recomputed, pass.first);
        else
          mlp_backward(block, recomputed && block.recompute >= Recompute::mlp, pass.first);
        attention_backward(block, pass.first);
      });
    }
    if (block.deferred == nullptr) pass.bucket_done(buckets().of_block(block.layer));
    between_blocks();
  }
  if (extent().has_embedding) {
    embedding_backward(s);
    // One addition of two sums over the micro-batches, wherever the two are (Span::tied).
    if (pass.last && architecture_.tied && buckets().has_head()) {
      const View gradient = weights_.gradients.embedding;
      kernels::residual_add(context_,
                            {.x = gradient, .delta = weights_.gradients.lm_head, .out = gradient});
    }
    pass.bucket_done(buckets().embedding());
  } else {
    kernels::cast(context_, pass.d_input, a_.d_residual);
  }
}

void Stage::backward_weights(int slot, int weight_slot, const BackwardPass& pass) {
  for (std::int64_t i = extent().num_layers - 1; i >= 0; --i) {
    const Block block = block_of(slot, weight_slot, i);
    if (has_experts(block))
      experts_weights_backward(block, pass.first);
    else
      mlp_weights_backward(block, pass.first);
    attention_weights_backward(block, pass.first);
    pass.bucket_done(buckets().of_block(block.layer));
    between_blocks();
  }
}

// What is recomputed comes from what was kept; but gate_up waits until mlp_backward has gathered
// its input.
bool Stage::recompute_block(int slot, const Block& block) {
  if (block.recompute == Recompute::none) return false;
  if (a_.shared_buffers.slot == slot && a_.shared_buffers.layer == block.layer) return false;
  a_.shared_buffers = {slot, block.layer};
  const BlockActivations& b = block.b;
  const ConstView complete{};  // x and x_mid have no branch to add
  residual_norm(b.x, complete, block.w.input_layernorm, b.x, b.n1, b.norm1);
  if (block.recompute == Recompute::full) {
    mlp_norm(block, attention_forward(block));
  } else {
    rotate(block);
    residual_norm(b.x_mid, complete, block.w.post_attention_layernorm, b.x_mid, b.n2, b.norm2);
  }
  return true;
}

void Stage::residual_norm(ConstView x, ConstView delta, const NormTensors& weights, View residual,
                          View y, View statistics) {
  const auto phase = context_.profiler().scope(Phase::norm);
  norm_forward(context_, architecture_,
               {.x = x,
                .delta = delta,
                .weights = weights,
                .residual = residual,
                .y = y,
                .statistics = statistics});
}

void Stage::norm_backward(ConstView dy, ConstView x, const NormTensors& weights,
                          ConstView statistics, ConstView d_residual,
                          const NormTensors& gradients) {
  const auto phase = context_.profiler().scope(Phase::norm);
  model::norm_backward(context_, architecture_,
                       {.dy = dy,
                        .x = x,
                        .weights = weights,
                        .statistics = statistics,
                        .d_residual = d_residual,
                        .dx = a_.d_residual,
                        .gradients = gradients});
}

// Weight gradients of matrix products replace what was there in the first micro-batch; the others
// are accumulated and start from zero.
void Stage::clear_gradients_without_gemm() {
  const auto phase = context_.profiler().scope(Phase::norm);
  const ModelTensors& g = weights_.gradients;
  const auto clear = [&](const View& gradient) {
    if (gradient.exists()) kernels::set_zero(context_, gradient);
  };
  const auto clear_norm = [&](const NormTensors& norm) {
    clear(norm.weight);
    clear(norm.bias);
  };
  for (std::int64_t i = 0; i < extent().num_layers; ++i) {
    const BlockTensors& b = g.blocks[static_cast<std::size_t>(extent().first + i)];
    clear_norm(b.input_layernorm);
    clear_norm(b.post_attention_layernorm);
    clear(b.q_norm);
    clear(b.k_norm);
    for (const LinearTensors* linear : {&b.qkv, &b.o, &b.gate_up, &b.down}) clear(linear->bias);
  }
  if (extent().has_head) clear_norm(g.final_norm);
  if (!extent().has_embedding) return;
  clear(g.position_embedding);
  clear(g.embedding);
}

ConstView Stage::own_rows(ConstView all) const {
  if (!boundary_.splits_tokens()) return all;
  const std::int64_t local = a_.shape.local_tokens();
  return all.row_range(comm_.tensor->rank() * local, local);
}

ConstView Stage::keep(View kept, ConstView value) {
  if (!kept.exists()) return value;
  kernels::cast(context_, kept, value);
  return kept;
}

void Stage::train(const Batch& batch, const BackwardPass& pass) {
  load(0, batch);
  forward(0);
  backward(0, pass);
}

double Stage::take_loss_sum() {
  const double sum = context_.download<double>(a_.loss_sum).front();
  const double zero = 0.0;
  context_.upload(a_.loss_sum, &zero);
  return sum;
}

void Stage::add_losses(int slot) {
  const Using lm_head(*this, lm_head_bucket());
  head(slot_of(slot), /*with_gradients=*/false, 0.0F, false);
}

double Stage::evaluate(const Batch& batch) {
  load(0, batch);
  forward(0);
  add_losses(0);
  return take_loss_sum();
}

}  // namespace espalier::model
