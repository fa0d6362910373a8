#include "kernels/bias.hpp"
#include "kernels/elementwise.hpp"
#include "kernels/embedding/embedding.hpp"
#include "kernels/embedding/positions.hpp"
#include "model/parts.hpp"
#include "model/transformer.hpp"

namespace espalier::model {

using device::ConstView;
using device::Output;
using device::Phase;
using device::View;
using parallel::Rows;

// The forward pass backwards. On entry a_.branch holds the gradient of the final norm's output (of
// all tokens, a partial sum over the vocabulary split, which the head may have begun to sum);
// a_.d_residual carries the gradient of the residual stream from block to block.
void Transformer::backward(const Inputs& inputs, bool first, const BucketDone& bucket_done) {
  if (first) clear_gradients_without_gemm();
  const ModelTensors& w = weights_.weights;
  const ModelTensors& g = weights_.gradients;
  const int num_layers = static_cast<int>(sizes_.num_layers);
  const View d_n = boundary_.finish_enter_backward(context_, a_.branch, a_.branch_local);
  norm_backward(d_n, a_.x_final, w.final_norm, a_.norm_final, /*d_residual=*/{}, g.final_norm);
  bucket_done(num_layers + 1);
  for (int layer = num_layers - 1; layer >= 0; --layer) {
    run_block(Pass::backward, layer, first, inputs, [&] {
      recompute_block(layer, inputs);
      mlp_backward(layer, first);
      attention_backward(layer, inputs, first);
    });
    bucket_done(layer);
  }
  {
    // The embedding acts on all tokens of its part of the vocabulary.
    const ConstView dx = boundary_.leave_backward(context_, a_.d_residual, a_.gathered_a);
    auto phase = context_.profiler().scope(Phase::embedding);
    kernels::embedding_backward(context_, {.tokens = inputs.tokens,
                                           .d_out = dx,
                                           .first_row = sizes_.vocab_first,
                                           .d_table = g.embedding,
                                           .order = a_.token_order});
    if (sizes_.num_positions > 0)
      kernels::positions_backward(context_, {.position_ids = local_position_ids(inputs),
                                             .dx = a_.d_residual,
                                             .d_table = g.position_embedding});
  }
  bucket_done(num_layers);
}

// Weight gradients of matrix products replace what was there in the first micro-batch; the others
// are accumulated and start from zero.
void Transformer::clear_gradients_without_gemm() {
  auto phase = context_.profiler().scope(Phase::norm);
  const ModelTensors& g = weights_.gradients;
  const auto clear = [&](const View& gradient) {
    if (gradient.exists()) kernels::set_zero(context_, gradient);
  };
  const auto clear_norm = [&](const NormTensors& norm) {
    clear(norm.weight);
    clear(norm.bias);
  };
  for (const BlockTensors& b : g.blocks) {
    clear_norm(b.input_layernorm);
    clear_norm(b.post_attention_layernorm);
    clear(b.q_norm);
    clear(b.k_norm);
    for (const LinearTensors* linear : {&b.qkv, &b.o, &b.gate_up, &b.down}) clear(linear->bias);
  }
  clear_norm(g.final_norm);
  clear(g.position_embedding);
  if (!architecture_.tied) clear(g.embedding);
}

// The gradient of the residual stream is d_residual plus what comes through the norm.
void Transformer::norm_backward(ConstView dy, ConstView x, const NormTensors& weights,
                                ConstView statistics, ConstView d_residual,
                                const NormTensors& gradients) {
  auto phase = context_.profiler().scope(Phase::norm);
  model::norm_backward(context_, architecture_,
                       {.dy = dy,
                        .x = x,
                        .weights = weights,
                        .statistics = statistics,
                        .d_residual = d_residual,
                        .dx = a_.d_residual,
                        .gradients = gradients});
}

// For o_proj and down_proj `dy` is of the rank's own tokens: their bias joins the sum over the
// tensor group once, so its gradient is not a partial sum over that group.
void Transformer::linear_bias_backward(const LinearTensors& gradients, ConstView dy) {
  if (architecture_.biases) kernels::bias_backward(context_, {.dy = dy, .d_bias = gradients.bias});
}

// What the backward pass of a block needs and the forward pass did not keep, from what it kept; but
// gate_up waits until mlp_backward has gathered its input.
void Transformer::recompute_block(std::int64_t layer, const Inputs& inputs) {
  const Recompute recompute = a_.shape.recompute;
  if (recompute == Recompute::none || !was_overwritten(layer)) return;
  const BlockTensors& w = weights_.weights.blocks[static_cast<std::size_t>(layer)];
  BlockActivations& b = a_.blocks[static_cast<std::size_t>(layer)];
  branch_ = {};  // x is complete
  residual_norm(b.x, w.input_layernorm, b.x, b.n1, b.norm1);
  if (recompute == Recompute::full) {
    attention_forward(layer, inputs);
    mlp_norm(layer);
  } else {
    rotate(layer, inputs);
    residual_norm(b.x_mid, w.post_attention_layernorm, b.x_mid, b.n2, b.norm2);
  }
}

void Transformer::mlp_backward(std::int64_t layer, bool first) {
  const BlockTensors& w = weights_.weights.blocks[static_cast<std::size_t>(layer)];
  const BlockTensors& g = weights_.gradients.blocks[static_cast<std::size_t>(layer)];
  BlockActivations& b = a_.blocks[static_cast<std::size_t>(layer)];
  const Output output = first ? Output::replace : Output::accumulate;

  const ConstView dy = boundary_.leave_backward(  // (T, H)
      context_, a_.d_residual, a_.gathered_a, [&](Rows rows, ConstView dy_rows) {
        auto phase = context_.profiler().scope(Phase::mlp);
        context_.gemm().backward_input(rows.of(a_.mlp_hidden), dy_rows, w.down.weight);
      });
  const bool again = a_.shape.recompute >= Recompute::mlp && was_overwritten(layer);
  const ConstView n2 =  // (T, H)
      again ? boundary_.enter_forward(
                  context_, b.n2, a_.gathered_b,
                  [&](Rows rows, ConstView n2_rows) { gate_up_forward(layer, rows, n2_rows); })
            : boundary_.enter_forward_early(context_, b.n2, a_.gathered_b);
  {
    auto phase = context_.profiler().scope(Phase::activation);
    activation_backward(context_, architecture_.mlp, b.gate_up, a_.mlp_hidden);
  }
  {
    auto phase = context_.profiler().scope(Phase::mlp);
    context_.gemm().backward_weight(g.down.weight, dy, a_.mlp_hidden, output);
    linear_bias_backward(g.down, a_.d_residual);
  }
  boundary_.wait(context_);  // for n2
  const View d_n2 = boundary_.enter_backward(
      context_, a_.branch, a_.branch_local,
      [&](Rows rows) {
        auto phase = context_.profiler().scope(Phase::mlp);
        context_.gemm().backward_input(rows.of(a_.branch), rows.of(b.gate_up), w.gate_up.weight);
      },
      [&] {
        auto phase = context_.profiler().scope(Phase::mlp);
        context_.gemm().backward_weight(g.gate_up.weight, b.gate_up, n2, output);
        linear_bias_backward(g.gate_up, b.gate_up);
      });
  norm_backward(d_n2, b.x_mid, w.post_attention_layernorm, b.norm2, a_.d_residual,
                g.post_attention_layernorm);
}

void Transformer::attention_backward(std::int64_t layer, const Inputs& inputs, bool first) {
  const BlockTensors& w = weights_.weights.blocks[static_cast<std::size_t>(layer)];
  const BlockTensors& g = weights_.gradients.blocks[static_cast<std::size_t>(layer)];
  BlockActivations& b = a_.blocks[static_cast<std::size_t>(layer)];
  const AttentionOperands operands = attention_operands(layer, inputs);
  const Output output = first ? Output::replace : Output::accumulate;

  const ConstView dy = boundary_.leave_backward(  // (T, H)
      context_, a_.d_residual, a_.gathered_a, [&](Rows rows, ConstView dy_rows) {
        auto phase = context_.profiler().scope(Phase::projections);
        context_.gemm().backward_input(rows.of(a_.d_o), dy_rows, w.o.weight);
      });
  const ConstView n1 = boundary_.enter_forward_early(context_, b.n1, a_.gathered_b);
  {
    auto phase = context_.profiler().scope(Phase::projections);
    context_.gemm().backward_weight(g.o.weight, dy, b.o, output);
    linear_bias_backward(g.o, a_.d_residual);
  }
  {
    auto phase = context_.profiler().scope(Phase::attention);
    kernels::attention_backward(context_, operands.attention_backward());
  }
  if (sizes_.rotates) {  // else d_qkv is final
    auto phase = context_.profiler().scope(Phase::rope);
    kernels::qk_norm_rope_backward(context_, operands.rotation_backward(w, g));
  }
  boundary_.wait(context_);  // for n1
  const View d_n1 = boundary_.enter_backward(
      context_, a_.branch, a_.branch_local,
      [&](Rows rows) {
        auto phase = context_.profiler().scope(Phase::projections);
        context_.gemm().backward_input(rows.of(a_.branch), rows.of(a_.d_qkv), w.qkv.weight);
      },
      [&] {
        auto phase = context_.profiler().scope(Phase::projections);
        context_.gemm().backward_weight(g.qkv.weight, a_.d_qkv, n1, output);
        linear_bias_backward(g.qkv, a_.d_qkv);
      });
  norm_backward(d_n1, b.x, w.input_layernorm, b.norm1, a_.d_residual, g.input_layernorm);
}

}  // namespace espalier::model
