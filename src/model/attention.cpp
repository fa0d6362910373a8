#include "model/stage.hpp"

namespace espalier::model {

using device::ConstView;
using device::Output;
using device::Phase;
using device::View;
using parallel::Rows;

ConstView Stage::attention_forward(const Block& block) {
  const BlockActivations& b = block.b;
  boundary_.enter_forward(context_, b.n1, a_.gathered_a, [&](Rows rows, ConstView n1) {
    const auto phase = context_.profiler().scope(Phase::projections);
    linear(block, &BlockTensors::qkv).forward(context_, rows.of(b.qkv), n1);
  });
  rotate(block);
  const AttentionOperands operands = attention_operands(block);
  for_kv_heads(operands, [&](KvHeads heads) {
    const auto phase = context_.profiler().scope(Phase::attention);
    kernels::attention_forward(context_, operands.attention(heads));
  });
  return boundary_.leave_forward(context_, a_.branch, a_.branch_local, [&](Rows rows) {
    const auto phase = context_.profiler().scope(Phase::projections);
    linear(block, &BlockTensors::o)
        .forward(context_, rows.of(a_.branch), rows.of(b.o), is_first_tensor_rank());
  });
}

void Stage::attention_backward(const Block& block, bool first) {
  const BlockTensors& g = gradients_of(block);
  const BlockActivations& b = block.b;
  const DeferredProducts* later = block.deferred;
  const AttentionOperands operands = attention_operands(block);
  const Output output = first ? Output::replace : Output::accumulate;
  const Linear qkv = linear(block, &BlockTensors::qkv);
  const Linear o = linear(block, &BlockTensors::o);

  const ConstView dy = boundary_.leave_backward(  // (T, H)
      context_, a_.d_residual, later ? later->attention_dy : a_.gathered_a,
      [&](Rows rows, ConstView dy_rows) {
        const auto phase = context_.profiler().scope(Phase::projections);
        o.backward_input(context_, rows.of(a_.d_o), dy_rows);
      });
  const bool keeps_n1 = later != nullptr && later->n1.exists();
  const ConstView n1 =
      boundary_.enter_forward_early(context_, b.n1, keeps_n1 ? later->n1 : a_.gathered_b);
  if (later != nullptr) {
    if (!boundary_.splits_tokens()) keep(later->attention_dy, dy);  // else gathered there
    keep(later->o, b.o);
  } else {
    const auto phase = context_.profiler().scope(Phase::projections);
    o.backward_weight(context_, dy, b.o, output, /*bias_dy=*/a_.d_residual);
  }
  attention_gradients(operands);
  if (sizes_.rotates) {  // else d_qkv is final
    const auto phase = context_.profiler().scope(Phase::rope);
    kernels::qk_norm_rope_backward(context_, operands.rotation_backward(block.w, g));
  }
  boundary_.wait(context_);  // for n1
  const View d_n1 = boundary_.enter_backward(
      context_, a_.branch, a_.branch_local,
      [&](Rows rows) {
        const auto phase = context_.profiler().scope(Phase::projections);
        qkv.backward_input(context_, rows.of(a_.branch), rows.of(operands.d_qkv));
      },
      [&] {
        const auto phase = context_.profiler().scope(Phase::projections);
        if (later == nullptr)
          qkv.backward_weight(context_, operands.d_qkv, n1, output);
        else if (!boundary_.splits_tokens())
          keep(later->n1, n1);
      });
  norm_backward(d_n1, b.x, block.w.input_layernorm, b.norm1, a_.d_residual, g.input_layernorm);
}

void Stage::attention_weights_backward(const Block& block, bool first) {
  const auto phase = context_.profiler().scope(Phase::projections);
  const DeferredProducts& d = *block.deferred;
  const Output output = first ? Output::replace : Output::accumulate;
  linear(block, &BlockTensors::o)
      .backward_weight(context_, d.attention_dy, d.o.exists() ? d.o : block.b.o, output,
                       own_rows(d.attention_dy));
  linear(block, &BlockTensors::qkv)
      .backward_weight(context_, d.d_qkv, d.n1.exists() ? d.n1 : block.b.n1, output);
}

// Without RoPE attention reads qkv itself.
void Stage::rotate(const Block& block) {
  if (!sizes_.rotates) return;
  const auto phase = context_.profiler().scope(Phase::rope);
  kernels::qk_norm_rope_forward(context_, attention_operands(block).rotation(block.w));
}

AttentionOperands Stage::attention_operands(const Block& block) const {
  return {.architecture = architecture_,
          .sizes = sizes_,
          .a = a_,
          .b = block.b,
          .inputs = block.slot.inputs,
          .d_qkv = block.deferred != nullptr ? block.deferred->d_qkv : a_.d_qkv};
}

}  // namespace espalier::model
