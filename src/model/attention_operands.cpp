#include "model/attention_operands.hpp"

namespace espalier::model {

kernels::QkNormRopeForward AttentionOperands::rotation(const BlockTensors& w) const {
  return {.qkv = b.qkv,
          .q_weight = w.q_norm,
          .k_weight = w.k_norm,
          .position_ids = inputs.position_ids,
          .rope = a.rope,
          .qk = b.qk,
          .num_q_heads = sizes.num_heads,
          .num_kv_heads = sizes.num_kv_heads,
          .head_dim = sizes.head_dim,
          .eps = architecture.norm_eps};
}

kernels::QkNormRopeBackward AttentionOperands::rotation_backward(const BlockTensors& w,
                                                                 const BlockTensors& g) const {
  return {.d_qk = d_qkv.col_range(0, sizes.qk_cols()),
          .qkv = b.qkv,
          .q_weight = w.q_norm,
          .k_weight = w.k_norm,
          .position_ids = inputs.position_ids,
          .rope = a.rope,
          .d_qkv = d_qkv,
          .d_q_weight = g.q_norm,
          .d_k_weight = g.k_norm,
          .num_q_heads = sizes.num_heads,
          .num_kv_heads = sizes.num_kv_heads,
          .head_dim = sizes.head_dim,
          .eps = architecture.norm_eps};
}

namespace {

/// Where the heads' query columns begin, and how many there are.
struct Columns {
  std::int64_t first, count;
};
Columns query_columns(const LocalSizes& sizes, KvHeads heads) {
  const std::int64_t per_kv_head = sizes.num_heads / sizes.num_kv_heads * sizes.head_dim;
  return {heads.first * per_kv_head, heads.count * per_kv_head};
}

}  // namespace

device::ConstView AttentionOperands::own_keys(KvHeads heads) const {
  return b.qk.col_range(sizes.q_cols() + heads.first * sizes.head_dim,
                        heads.count * sizes.head_dim);
}

device::ConstView AttentionOperands::own_values(KvHeads heads) const {
  return b.qkv.col_range(sizes.qk_cols() + heads.first * sizes.head_dim,
                         heads.count * sizes.head_dim);
}

device::View AttentionOperands::d_own_keys(KvHeads heads) const {
  return d_qkv.col_range(sizes.q_cols() + heads.first * sizes.head_dim,
                         heads.count * sizes.head_dim);
}

device::View AttentionOperands::d_own_values(KvHeads heads) const {
  return d_qkv.col_range(sizes.qk_cols() + heads.first * sizes.head_dim,
                         heads.count * sizes.head_dim);
}

kernels::AttentionForward AttentionOperands::attention(KvHeads heads) const {
  const Columns queries = query_columns(sizes, heads);
  const std::int64_t kv_cols = heads.count * sizes.head_dim;
  const bool gathers = a.context.exists();
  const std::int64_t q_heads = queries.count / sizes.head_dim;
  return {.shape = a.attention,
          .q = b.qk.col_range(queries.first, queries.count),
          .k = gathers ? a.context.of_tokens.col_range(0, kv_cols) : own_keys(heads),
          .v = gathers ? a.context.of_tokens.col_range(kv_cols, kv_cols) : own_values(heads),
          .o = b.o.col_range(queries.first, queries.count),
          .lse = b.lse.row_range(queries.first / sizes.head_dim * a.attention.batch,
                                 q_heads * a.attention.batch),
          .document_start = inputs.document_start,
          .block_starts = inputs.context.block_starts,
          .provider = a.shape.attention};
}

kernels::AttentionBackward AttentionOperands::attention_backward(KvHeads heads) const {
  const kernels::AttentionForward forward = attention(heads);
  const Columns queries = query_columns(sizes, heads);
  const std::int64_t kv_cols = heads.count * sizes.head_dim;
  const bool gathers = a.context.exists();
  return {.shape = forward.shape,
          .q = forward.q,
          .k = forward.k,
          .v = forward.v,
          .o = forward.o,
          .lse = forward.lse,
          .d_o = a.d_o.col_range(queries.first, queries.count),
          .d_q = d_qkv.col_range(queries.first, queries.count),
          .d_k = gathers ? a.context.d_of_tokens.col_range(0, kv_cols) : d_own_keys(heads),
          .d_v = gathers ? a.context.d_of_tokens.col_range(kv_cols, kv_cols) : d_own_values(heads),
          .scratch = a.attention_scratch,
          .document_start = forward.document_start,
          .block_starts = forward.block_starts,
          .provider = forward.provider};
}

}  // namespace espalier::model
