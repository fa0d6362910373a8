#pragma once
#include <vector>

#include "model/architecture.hpp"
#include "parallel/shard_map.hpp"

namespace espalier::model {

/// The tensor table: a row per weight in Hugging Face's order. Allocation, initialisation,
/// parameter count, checkpoints, the ZeRO partition and conversion are derived from it.
///
/// | weight (.weight)                  | shape    | shard      | decay | gradient sum      |
/// |-----------------------------------|----------|------------|-------|-------------------|
/// | model.embed_tokens                | (V, H)   | vocab_rows | yes   | none              |
/// | layers.N.input_layernorm          | (H)      | none       | no    | sequence_parallel |
/// | layers.N.self_attn.q_proj         | (A*D, H) | rows       | yes   | none              |
/// | layers.N.self_attn.{k,v}_proj     | (K*D, H) | kv_rows    | yes   | kv_replicas       |
/// | layers.N.self_attn.o_proj         | (H, A*D) | columns    | yes   | none              |
/// | layers.N.self_attn.{q,k}_norm     | (D)      | none       | no    | tensor            |
/// | layers.N.post_attention_layernorm | (H)      | none       | no    | sequence_parallel |
/// | layers.N.mlp.{gate,up}_proj       | (F, H)   | rows       | yes   | none              |
/// | layers.N.mlp.down_proj            | (H, F)   | columns    | yes   | none              |
/// | model.norm                        | (H)      | none       | no    | sequence_parallel |
/// | lm_head (absent when tied)        | (V, H)   | vocab_rows | yes   | none              |
std::vector<parallel::TensorSpec> tensor_table(const Architecture& architecture);

}  // namespace espalier::model
