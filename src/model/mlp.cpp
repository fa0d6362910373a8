#include "model/parts.hpp"
#include "model/stage.hpp"

namespace espalier::model {

using device::ConstView;
using device::Output;
using device::Phase;
using device::View;
using parallel::Rows;

void Stage::mlp_norm(const Block& block, ConstView branch) {
  const BlockActivations& b = block.b;
  residual_norm(b.x, branch, block.w.post_attention_layernorm, b.x_mid, b.n2, b.norm2);
}

ConstView Stage::mlp_forward(const Block& block, ConstView branch) {
  mlp_norm(block, branch);
  if (has_experts(block)) return experts_forward(block);
  boundary_.enter_forward(context_, block.b.n2, a_.gathered_a,
                          [&](Rows rows, ConstView n2) { gate_up_forward(block, rows, n2); });
  {
    const auto phase = context_.profiler().scope(Phase::activation);
    activation_forward(context_, architecture_.mlp, block.b.gate_up, a_.mlp_hidden);
  }
  return boundary_.leave_forward(context_, a_.branch, a_.branch_local, [&](Rows rows) {
    const auto phase = context_.profiler().scope(Phase::mlp);
    linear(block, &BlockTensors::down)
        .forward(context_, rows.of(a_.branch), rows.of(a_.mlp_hidden), is_first_tensor_rank());
  });
}

void Stage::gate_up_forward(const Block& block, Rows rows, ConstView n2) {
  const auto phase = context_.profiler().scope(Phase::mlp);
  linear(block, &BlockTensors::gate_up).forward(context_, rows.of(block.b.gate_up), n2);
}

// `recomputes`: gate_up, from the gathered n2 that the gradient of its weight needs anyhow.
void Stage::mlp_backward(const Block& block, bool recomputes, bool first) {
  const BlockActivations& b = block.b;
  const DeferredProducts* later = block.deferred;
  const Output output = first ? Output::replace : Output::accumulate;
  const Linear gate_up = linear(block, &BlockTensors::gate_up);
  const Linear down = linear(block, &BlockTensors::down);
  const View hidden = later != nullptr ? later->mlp_hidden : a_.mlp_hidden;

  const ConstView dy = boundary_.leave_backward(  // (T, H)
      context_, a_.d_residual, later ? later->mlp_dy : a_.gathered_a,
      [&](Rows rows, ConstView dy_rows) {
        const auto phase = context_.profiler().scope(Phase::mlp);
        down.backward_input(context_, rows.of(hidden), dy_rows);
      });
  const bool keeps_n2 = later != nullptr && later->n2.exists();
  const View gathered = keeps_n2 ? later->n2 : a_.gathered_b;
  const ConstView n2 =  // (T, H)
      recomputes ? boundary_.enter_forward(
                       context_, b.n2, gathered,
                       [&](Rows rows, ConstView n2_rows) { gate_up_forward(block, rows, n2_rows); })
                 : boundary_.enter_forward_early(context_, b.n2, gathered);
  {
    const auto phase = context_.profiler().scope(Phase::activation);
    activation_backward(context_, architecture_.mlp, b.gate_up, hidden);
  }
  if (later != nullptr) {
    if (!boundary_.splits_tokens()) keep(later->mlp_dy, dy);  // else gathered there
    keep(later->gate_up, b.gate_up);
  } else {
    const auto phase = context_.profiler().scope(Phase::mlp);
    down.backward_weight(context_, dy, hidden, output, /*bias_dy=*/a_.d_residual);
  }
  boundary_.wait(context_);  // for n2
  const View d_n2 = boundary_.enter_backward(
      context_, a_.branch, a_.branch_local,
      [&](Rows rows) {
        const auto phase = context_.profiler().scope(Phase::mlp);
        gate_up.backward_input(context_, rows.of(a_.branch), rows.of(b.gate_up));
      },
      [&] {
        const auto phase = context_.profiler().scope(Phase::mlp);
        if (later == nullptr)
          gate_up.backward_weight(context_, b.gate_up, n2, output);
        else if (!boundary_.splits_tokens())
          keep(later->n2, n2);
      });
  norm_backward(d_n2, b.x_mid, block.w.post_attention_layernorm, b.norm2, a_.d_residual,
                gradients_of(block).post_attention_layernorm);
}

void Stage::mlp_weights_backward(const Block& block, bool first) {
  const auto phase = context_.profiler().scope(Phase::mlp);
  const DeferredProducts& d = *block.deferred;
  const Output output = first ? Output::replace : Output::accumulate;
  linear(block, &BlockTensors::down)
      .backward_weight(context_, d.mlp_dy, d.mlp_hidden, output, own_rows(d.mlp_dy));
  linear(block, &BlockTensors::gate_up)
      .backward_weight(context_, d.gate_up.exists() ? d.gate_up : block.b.gate_up,
                       d.n2.exists() ? d.n2 : block.b.n2, output);
}

}  // namespace espalier::model
