#pragma once
#include <vector>

#include "model/architecture.hpp"
#include "parallel/layout/shard_map.hpp"

namespace espalier::model {

/// The tensor table: a row per weight in Hugging Face's order. Allocation, initialisation,
/// parameter count, checkpoints, the ZeRO partition and conversion are derived from it.
///
/// One layout for qwen3 and llama (q_norm and k_norm only with QK-norm), named after model.:
///
/// | weight (.weight)                  | shape    | shard      | decay | gradient span |
/// |-----------------------------------|----------|------------|-------|---------------|
/// | embed_tokens                      | (V, H)   | vocab_rows | yes   | tokens_shared |
/// | layers.N.input_layernorm          | (H)      | none       | no    | tokens        |
/// | layers.N.self_attn.q_proj         | (A*D, H) | rows       | yes   | tokens_shared |
/// | layers.N.self_attn.{k,v}_proj     | (K*D, H) | kv_rows    | yes   | kv_tokens     |
/// | layers.N.self_attn.o_proj         | (H, A*D) | columns    | yes   | tokens_shared |
/// | layers.N.self_attn.{q,k}_norm     | (D)      | none       | no    | tokens *      |
/// | layers.N.post_attention_layernorm | (H)      | none       | no    | tokens        |
/// | layers.N.mlp.{gate,up}_proj       | (F, H)   | rows       | yes   | tokens_shared |
/// | layers.N.mlp.down_proj            | (H, F)   | columns    | yes   | tokens_shared |
/// | norm                              | (H)      | none       | no    | tokens        |
/// | lm_head (absent when tied)        | (V, H)   | vocab_rows | yes   | tokens_shared |
///
/// A block with experts (qwen3_moe, Architecture::is_sparse) has in place of its MLP
///
/// | weight                           | shape        | shard   | decay | gradient span |
/// |----------------------------------|--------------|---------|-------|---------------|
/// | layers.N.mlp.gate.weight         | (E, H)       | none    | yes   | tokens        |
/// | layers.N.mlp.experts.gate_up_proj| (E*2 Fe, H)  | experts | yes   | expert_data   |
/// | layers.N.mlp.experts.down_proj   | (E*H, Fe)    | experts | yes   | expert_data   |
///
/// an expert's gate rows before its up rows; in Hugging Face's files each expert has three matrices
/// of its own (HuggingFacePlace::expert_parts).
///
/// `tokens` without * is so with sequence parallelism, where every tensor rank has seen a part of
/// the tokens. Without it all of them have the same gradient, and the span is tokens_shared. What
/// has a * acts on local heads, and its gradient is a partial sum either way.
///
/// One for gpt2, named after transformer. (lm_head without): norms have a weight, which starts at
/// one, and a bias; biases start at zero. The weights of c_attn, c_proj and c_fc lie transposed in
/// Hugging Face's files, q, k and v joined there to one c_attn (TensorSpec::place). wpe has
/// max_positions rows, P.
///
/// | weight                       | shape    | shard      | decay | gradient span | init      |
/// |------------------------------|----------|------------|-------|---------------|-----------|
/// | wte.weight                   | (V, H)   | vocab_rows | yes   | tokens_shared |           |
/// | wpe.weight                   | (P, H)   | none       | yes   | tokens        |           |
/// | h.N.ln_{1,2}.{weight,bias}   | (H)      | none       | no    | tokens        | 1, 0      |
/// | h.N.attn.c_attn.q.weight     | (A*D, H) | rows       | yes   | tokens_shared |           |
/// | h.N.attn.c_attn.{k,v}.weight | (K*D, H) | kv_rows    | yes   | kv_tokens     |           |
/// | h.N.attn.c_attn.q.bias       | (A*D)    | rows       | no    | tokens_shared | 0         |
/// | h.N.attn.c_attn.{k,v}.bias   | (K*D)    | kv_rows    | no    | kv_tokens     | 0         |
/// | h.N.attn.c_proj.weight       | (H, A*D) | columns    | yes   | tokens_shared | / sqrt 2L |
/// | h.N.mlp.c_fc.weight          | (F, H)   | rows       | yes   | tokens_shared |           |
/// | h.N.mlp.c_fc.bias            | (F)      | rows       | no    | tokens_shared | 0         |
/// | h.N.mlp.c_proj.weight        | (H, F)   | columns    | yes   | tokens_shared | / sqrt 2L |
/// | h.N.{attn,mlp}.c_proj.bias   | (H)      | none       | no    | tokens        | 0         |
/// | ln_f.{weight,bias}           | (H)      | none       | no    | tokens        | 1, 0      |
/// | lm_head.weight (unless tied) | (V, H)   | vocab_rows | yes   | tokens_shared |           |
///
/// `sequence_parallel` matters to the spans alone: whoever trains no weight may leave it away.
std::vector<parallel::TensorSpec> tensor_table(const Architecture& architecture,
                                               bool sequence_parallel = false);

}  // namespace espalier::model
