#include <algorithm>

#include "kernels/cross_entropy.hpp"
#include "kernels/elementwise.hpp"
#include "model/transformer.hpp"

namespace espalier::model {

using device::ConstView;
using device::Output;
using device::Phase;
using device::View;

// Per token the maximum, sum and target logit over this rank's part of the vocabulary, gathered
// over the tensor group and combined in rank order into loss and log-sum-exp.
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
  const std::int64_t tokens = a_.shape.tokens();
  const ConstView n = boundary_.enter_forward(context_, a_.n_final, a_.gathered_a);  // (T, H)
  const View lm_head = weights_.weights.lm_head;
  for (std::int64_t begin = 0; begin < tokens; begin += a_.shape.loss_chunk_tokens) {
    const std::int64_t count = std::min(a_.shape.loss_chunk_tokens, tokens - begin);
    const ConstView n_chunk = n.row_range(begin, count);
    const ConstView targets = inputs.targets.col_range(begin, count);
    const View logits = a_.logits.row_range(0, count);
    {
      auto phase = context_.profiler().scope(Phase::head);
      context_.gemm().forward(logits, n_chunk, lm_head);
    }
    head_statistics(targets, count);
    kernels::add_losses(context_, a_.loss_sum, a_.token_loss.col_range(0, count));
    if (!with_gradients) continue;
    {
      auto phase = context_.profiler().scope(Phase::loss);
      kernels::cross_entropy_backward(context_, {.logits = logits,
                                                 .targets = targets,
                                                 .log_sum_exp = a_.log_sum_exp.col_range(0, count),
                                                 .first_col = sizes_.vocab_first,
                                                 .num_valid_cols = sizes_.vocab_valid,
                                                 .scale = loss_scale});
    }
    auto phase = context_.profiler().scope(Phase::head);
    context_.gemm().backward_input(a_.branch.row_range(begin, count), logits, lm_head);
    context_.gemm().backward_weight(weights_.gradients.lm_head, logits, n_chunk,
                                    first && begin == 0 ? Output::replace : Output::accumulate);
  }
}

void Transformer::logits(const Batch& batch, View out) {
  forward(gather_inputs(context_, a_, batch));
  const std::int64_t tokens = a_.shape.tokens();
  ESPALIER_ASSERT(out.rows == tokens && out.cols == sizes_.vocab, "{}", device::describe(out));
  const ConstView n = boundary_.enter_forward(context_, a_.n_final, a_.gathered_a);
  for (std::int64_t begin = 0; begin < tokens; begin += a_.shape.loss_chunk_tokens) {
    const std::int64_t count = std::min(a_.shape.loss_chunk_tokens, tokens - begin);
    const View chunk = a_.logits.row_range(0, count);
    context_.gemm().forward(chunk, n.row_range(begin, count), weights_.weights.lm_head);
    kernels::cast(context_, out.row_range(begin, count), chunk);
  }
}

}  // namespace espalier::model
