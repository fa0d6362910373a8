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
/// | weight (.weight)                  | shape    | shard      | decay | gradient sum      |
/// |-----------------------------------|----------|------------|-------|-------------------|
/// | embed_tokens                      | (V, H)   | vocab_rows | yes   | none              |
/// | layers.N.input_layernorm          | (H)      | none       | no    | sequence_parallel |
/// | layers.N.self_attn.q_proj         | (A*D, H) | rows       | yes   | none              |
/// | layers.N.self_attn.{k,v}_proj     | (K*D, H) | kv_rows    | yes   | kv_replicas       |
/// | layers.N.self_attn.o_proj         | (H, A*D) | columns    | yes   | none              |
/// | layers.N.self_attn.{q,k}_norm     | (D)      | none       | no    | tensor            |
/// | layers.N.post_attention_layernorm | (H)      | none       | no    | sequence_parallel |
/// | layers.N.mlp.{gate,up}_proj       | (F, H)   | rows       | yes   | none              |
/// | layers.N.mlp.down_proj            | (H, F)   | columns    | yes   | none              |
/// | norm                              | (H)      | none       | no    | sequence_parallel |
/// | lm_head (absent when tied)        | (V, H)   | vocab_rows | yes   | none              |
///
/// One for gpt2, named after transformer. (lm_head without): norms have a weight, which starts at
/// one, and a bias; biases start at zero. The weights of c_attn, c_proj and c_fc lie transposed in
/// Hugging Face's files, q, k and v joined there to one c_attn (TensorSpec::place). wpe has
/// max_positions rows (*).
///
/// | weight                       | shape    | shard      | decay | gradient sum      | init      |
/// |------------------------------|----------|------------|-------|-------------------|-----------|
/// | wte.weight                   | (V, H)   | vocab_rows | yes   | none              |           |
/// | wpe.weight                   | (*, H)   | none       | yes   | sequence_parallel |           |
/// | h.N.ln_{1,2}.{weight,bias}   | (H)      | none       | no    | sequence_parallel | 1, 0      |
/// | h.N.attn.c_attn.q.weight     | (A*D, H) | rows       | yes   | none              |           |
/// | h.N.attn.c_attn.{k,v}.weight | (K*D, H) | kv_rows    | yes   | kv_replicas       |           |
/// | h.N.attn.c_attn.q.bias       | (A*D)    | rows       | no    | none              | 0         |
/// | h.N.attn.c_attn.{k,v}.bias   | (K*D)    | kv_rows    | no    | kv_replicas       | 0         |
/// | h.N.attn.c_proj.weight       | (H, A*D) | columns    | yes   | none              | / sqrt 2L |
/// | h.N.mlp.c_fc.weight          | (F, H)   | rows       | yes   | none              |           |
/// | h.N.mlp.c_fc.bias            | (F)      | rows       | no    | none              | 0         |
/// | h.N.mlp.c_proj.weight        | (H, F)   | columns    | yes   | none              | / sqrt 2L |
/// | h.N.{attn,mlp}.c_proj.bias   | (H)      | none       | no    | sequence_parallel | 0         |
/// | ln_f.{weight,bias}           | (H)      | none       | no    | sequence_parallel | 1, 0      |
/// | lm_head.weight (unless tied) | (V, H)   | vocab_rows | yes   | none              |           |
std::vector<parallel::TensorSpec> tensor_table(const Architecture& architecture);

}  // namespace espalier::model
