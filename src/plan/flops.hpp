#pragma once
#include <cstdint>

#include "model/architecture.hpp"

namespace espalier::plan {

/// Matrix FLOPs per trained token, forward and backward.
///   causal attention  6 (N_nonembedding + V H) + 6 L A D S    causal attention counted half
///   full attention    6 (N_nonembedding + V H) + 12 L A D S   torchtitan, nanoGPT
/// N_nonembedding counts matrices of the blocks (norm weights are not in a matrix product), of
/// experts those that a token is sent to, k of E, and the router.
struct FlopsPerToken {
  double causal_attention;
  double full_attention;
};
/// `sequence_length`: S, or what attention reaches on average inside documents
/// (data::attended_length).
FlopsPerToken flops_per_token(const model::Architecture& architecture, double sequence_length);

/// The same by part of the model. The first three and one of the attentions add up to it.
struct FlopsByPart {
  double projections = 0.0;       ///< 6 times the matrices of queries, keys, values and output
  double mlp = 0.0;               ///< 6 times the MLP's matrices, or the router's and k experts'
  double lm_head = 0.0;           ///< 6 V H
  double causal_attention = 0.0;  ///< 6 L A D S
  double full_attention = 0.0;    ///< 12 L A D S
};
FlopsByPart flops_by_part(const model::Architecture& architecture, double sequence_length);

}  // namespace espalier::plan
