#include "kernels/elementwise.hpp"
#include "kernels/moe/dispatch.hpp"
#include "model/stage.hpp"

// Context parallelism: a rank has some tokens of every sequence, and attends to the keys of all of
// them. Keys and values of the group are gathered (Llama 3, arXiv:2407.21783, section 3.3.2), and
// put in the order of the sequences, so that a query sees its keys in the order in which it would
// without; their gradients go the other way and are summed in fp32, in the order of the ranks.
//
// It goes by key and value heads, some at a time. On a GPU the next heads travel beside the
// attention of these, and the gradients of these beside that of the next; one buffer of each kind
// is enough, since what the compute stream reads of it comes before what the communication stream
// is given next.

namespace espalier::model {

using device::Phase;
using device::View;
using CommunicationStream = device::Context::CommunicationStream;

void Stage::for_kv_heads(const AttentionOperands& operands,
                         const std::function<void(KvHeads heads)>& attend) {
  const std::int64_t count = a_.attention.num_kv_heads;
  if (comm_.context != nullptr) begin_gather_keys(operands, {0, count});
  for (std::int64_t first = 0; first < sizes_.num_kv_heads; first += count) {
    if (comm_.context != nullptr) {
      finish_gather_keys(operands);
      const std::int64_t next = first + count;
      if (next < sizes_.num_kv_heads) begin_gather_keys(operands, {next, count});
    }
    attend({first, count});
  }
}

View Stage::own_context_rows(View of_ranks) const {
  const std::int64_t tokens = a_.shape.tokens();
  return of_ranks.row_range(comm_.context->rank() * tokens, tokens);
}

void Stage::begin_gather_keys(const AttentionOperands& operands, KvHeads heads) {
  const auto phase = context_.profiler().scope(Phase::context_communication);
  const View own = own_context_rows(a_.context.of_ranks);
  const std::int64_t cols = own.cols / 2;
  kernels::cast(context_, own.col_range(0, cols), operands.own_keys(heads));
  kernels::cast(context_, own.col_range(cols, cols), operands.own_values(heads));
  context_.fork_communication(CommunicationStream::context);
  comm_.context->all_gather(a_.context.of_ranks, own);
  context_.mark_communication(CommunicationStream::context);
}

void Stage::finish_gather_keys(const AttentionOperands& operands) {
  const auto phase = context_.profiler().scope(Phase::context_communication);
  context_.wait_communication(CommunicationStream::context);
  kernels::gather_rows(context_, {.in = a_.context.of_ranks,
                                  .index = operands.inputs.context.row_of_token,
                                  .out = a_.context.of_tokens});
}

void Stage::attention_gradients(const AttentionOperands& operands) {
  KvHeads travelling{0, 0};
  for_kv_heads(operands, [&](KvHeads heads) {
    {
      const auto phase = context_.profiler().scope(Phase::attention);
      kernels::attention_backward(context_, operands.attention_backward(heads));
    }
    if (comm_.context == nullptr) return;
    if (travelling.count > 0) finish_sum_of_keys(operands, travelling);
    begin_sum_of_keys(operands);
    travelling = heads;
  });
  if (travelling.count > 0) finish_sum_of_keys(operands, travelling);
}

void Stage::begin_sum_of_keys(const AttentionOperands& operands) {
  const auto phase = context_.profiler().scope(Phase::context_communication);
  kernels::gather_rows(context_, {.in = a_.context.d_of_tokens,
                                  .index = operands.inputs.context.token_of_row,
                                  .out = a_.context.d_of_ranks});
  context_.fork_communication(CommunicationStream::context);
  comm_.context->reduce_scatter_sum(own_context_rows(a_.context.d_of_ranks), a_.context.d_of_ranks);
}

void Stage::finish_sum_of_keys(const AttentionOperands& operands, KvHeads heads) {
  const auto phase = context_.profiler().scope(Phase::context_communication);
  context_.join_communication(CommunicationStream::context);
  const View own = own_context_rows(a_.context.d_of_ranks);
  const std::int64_t cols = own.cols / 2;
  kernels::cast(context_, operands.d_own_keys(heads), own.col_range(0, cols));
  kernels::cast(context_, operands.d_own_values(heads), own.col_range(cols, cols));
}

}  // namespace espalier::model
