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
  return {.d_qk = a.d_qkv.col_range(0, sizes.qk_cols()),
          .qkv = b.qkv,
          .q_weight = w.q_norm,
          .k_weight = w.k_norm,
          .position_ids = inputs.position_ids,
          .rope = a.rope,
          .d_qkv = a.d_qkv,
          .d_q_weight = g.q_norm,
          .d_k_weight = g.k_norm,
          .num_q_heads = sizes.num_heads,
          .num_kv_heads = sizes.num_kv_heads,
          .head_dim = sizes.head_dim,
          .eps = architecture.norm_eps};
}

kernels::AttentionForward AttentionOperands::attention() const {
  return {.shape = a.attention,
          .q = b.qk.col_range(0, sizes.q_cols()),
          .k = b.qk.col_range(sizes.q_cols(), sizes.kv_cols()),
          .v = b.qkv.col_range(sizes.qk_cols(), sizes.kv_cols()),
          .o = b.o,
          .lse = b.lse,
          .document_start = inputs.document_start,
          .provider = a.shape.attention};
}

kernels::AttentionBackward AttentionOperands::attention_backward() const {
  const kernels::AttentionForward forward = attention();
  return {.shape = forward.shape,
          .q = forward.q,
          .k = forward.k,
          .v = forward.v,
          .o = forward.o,
          .lse = forward.lse,
          .d_o = a.d_o,
          .d_q = a.d_qkv.col_range(0, sizes.q_cols()),
          .d_k = a.d_qkv.col_range(sizes.q_cols(), sizes.kv_cols()),
          .d_v = a.d_qkv.col_range(sizes.qk_cols(), sizes.kv_cols()),
          .scratch = a.attention_scratch,
          .document_start = forward.document_start,
          .provider = forward.provider};
}

}  // namespace espalier::model
