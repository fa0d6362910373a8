#include "kernels/elementwise.hpp"
#include "kernels/loss/cross_entropy.hpp"
#include "model/transformer.hpp"

namespace espalier::model {

using device::ConstView;
using device::Output;
using device::Phase;
using device::View;
using parallel::Rows;

// Per token the maximum, sum and target logit over this rank's part of the vocabulary, gathered
// over the tensor group and combined in rank order into loss and log-sum-exp.
//
// This gather stays in the compute stream under parallel.overlap_tensor, too: it is 12 bytes a
// token and rank, the latency of one small message per chunk. To travel beside the next chunk's
// logits product it would need a second buffer of logits, Tc x V_loc of the dtype (Qwen3-8B with
// Tc = 1024: 37 MiB at tensor = 8, 148 MiB at 2); with two buffers of half a chunk, d(lm_head) in
// fp32 would be read and written twice as often, which takes longer than the message.
void Transformer::head_statistics(ConstView targets, std::int64_t tokens) {
  auto phase = context_.profiler().scope(Phase::loss);
  const std::int64_t parts = a_.shape.tensor_size;
  const View all = a_.statistics.row_range(0, parts * tokens);
  const View mine = a_.own_statistics.row_range(0, tokens);
  kernels::cross_entropy_statistics(context_, {.logits = a_.logits.row_range(0, tokens),
                                               .targets = targets,
                                               .first_col = sizes_.vocab_first,
                                               .num_valid_cols = sizes_.vocab_valid,
                                               .statistics = mine});
  if (parts > 1) {
    auto communication = context_.profiler().scope(Phase::tensor_communication);
    comm_.tensor->all_gather(all, mine);
  }
  kernels::cross_entropy_combine(context_, {.statistics = all,
                                            .targets = targets,
                                            .num_parts = parts,
                                            .loss = a_.token_loss.col_range(0, tokens),
                                            .log_sum_exp = a_.log_sum_exp.col_range(0, tokens)});
}

// LM head and loss, chunk by chunk over the tokens, so that full logits never exist. With
// gradients, a chunk's logits become their own gradient in place, then d(n_final) and d(lm_head).
void Transformer::head(const Inputs& inputs, bool with_gradients, float loss_scale, bool first) {
  const View lm_head = weights_.weights.lm_head;
  const auto chunk = [&](Rows rows, ConstView n) {  // n: (rows, H)
    const ConstView targets = inputs.targets.col_range(rows.first, rows.count);
    const View logits = a_.logits.row_range(0, rows.count);
    {
      auto phase = context_.profiler().scope(Phase::head);
      context_.gemm().forward(logits, n, lm_head);
    }
    head_statistics(targets, rows.count);
    kernels::add_losses(context_, a_.loss_sum, a_.token_loss.col_range(0, rows.count));
    if (!with_gradients) return;
    {
      auto phase = context_.profiler().scope(Phase::loss);
      kernels::cross_entropy_backward(context_,
                                      {.logits = logits,
                                       .targets = targets,
                                       .log_sum_exp = a_.log_sum_exp.col_range(0, rows.count),
                                       .first_col = sizes_.vocab_first,
                                       .num_valid_cols = sizes_.vocab_valid,
                                       .scale = loss_scale});
    }
    {
      auto phase = context_.profiler().scope(Phase::head);
      context_.gemm().backward_input(rows.of(a_.branch), logits, lm_head);
    }
    boundary_.begin_enter_backward(context_, a_.branch, rows);
    auto phase = context_.profiler().scope(Phase::head);
    context_.gemm().backward_weight(
        weights_.gradients.lm_head, logits, n,
        first && rows.first == 0 ? Output::replace : Output::accumulate);
  };
  boundary_.enter_forward_in_chunks(context_, a_.n_final, a_.gathered_a, a_.shape.loss_chunk_tokens,
                                    chunk);
}

void Transformer::logits(const Batch& batch, View out) {
  forward(gather_inputs(context_, a_, batch));
  ESPALIER_ASSERT(out.rows == a_.shape.tokens() && out.cols == sizes_.vocab, "{}",
                  device::describe(out));
  const auto chunk = [&](Rows rows, ConstView n) {
    const View logits = a_.logits.row_range(0, rows.count);
    context_.gemm().forward(logits, n, weights_.weights.lm_head);
    kernels::cast(context_, rows.of(out), logits);
  };
  boundary_.enter_forward_in_chunks(context_, a_.n_final, a_.gathered_a, a_.shape.loss_chunk_tokens,
                                    chunk);
}

}  // namespace espalier::model
