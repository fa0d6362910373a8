#include "kernels/elementwise.hpp"
#include "kernels/moe/dispatch.hpp"
#include "model/stage.hpp"

// Context parallelism: a rank has some tokens of every sequence, and attends to the keys of all of
// them. Keys and values of the group are gathered (Llama 3, arXiv:2407.21783, section 3.3.2), and
// put in the order of the sequences, so that a query sees its keys in the order in which it would
// without; their gradients go the other way and are summed in fp32, in the order of the ranks.

namespace espalier::model {

using device::Phase;
using device::View;

void Stage::for_kv_heads(const std::function<void(KvHeads heads)>& call) const {
  const std::int64_t count = a_.attention.num_kv_heads;
  for (std::int64_t first = 0; first < sizes_.num_kv_heads; first += count) call({first, count});
}

View Stage::own_context_rows(View of_ranks) const {
  const std::int64_t tokens = a_.shape.tokens();
  return of_ranks.row_range(comm_.context->rank() * tokens, tokens);
}

void Stage::gather_keys(const AttentionOperands& operands, KvHeads heads) {
  if (comm_.context == nullptr) return;
  const auto phase = context_.profiler().scope(Phase::context_communication);
  const View own = own_context_rows(a_.context.of_ranks);
  const std::int64_t cols = own.cols / 2;
  kernels::cast(context_, own.col_range(0, cols), operands.own_keys(heads));
  kernels::cast(context_, own.col_range(cols, cols), operands.own_values(heads));
  comm_.context->all_gather(a_.context.of_ranks, own);
  kernels::gather_rows(context_, {.in = a_.context.of_ranks,
                                  .index = operands.inputs.context.row_of_token,
                                  .out = a_.context.of_tokens});
}

void Stage::sum_key_gradients(const AttentionOperands& operands, KvHeads heads) {
  if (comm_.context == nullptr) return;
  const auto phase = context_.profiler().scope(Phase::context_communication);
  kernels::gather_rows(context_, {.in = a_.context.d_of_tokens,
                                  .index = operands.inputs.context.token_of_row,
                                  .out = a_.context.d_of_ranks});
  const View own = own_context_rows(a_.context.d_of_ranks);
  comm_.context->reduce_scatter_sum(own, a_.context.d_of_ranks);
  const std::int64_t cols = own.cols / 2;
  kernels::cast(context_, operands.d_own_keys(heads), own.col_range(0, cols));
  kernels::cast(context_, operands.d_own_values(heads), own.col_range(cols, cols));
}

}  // namespace espalier::model
