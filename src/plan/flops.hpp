#pragma once
#include <cstdint>

#include "model/architecture.hpp"

namespace espalier::plan {

/// Matrix FLOPs per trained token, forward and backward.
///   causal attention  6 (N_nonembedding + V H) + 6 L A D S    causal attention counted half
///   full attention    6 (N_nonembedding + V H) + 12 L A D S   torchtitan, nanoGPT
/// N_nonembedding counts matrices of the blocks (norm weights are not in a matrix product).
struct FlopsPerToken {
  double causal_attention;
  double full_attention;
};
/// `sequence_length`: S, or what attention reaches on average inside documents
/// (data::attended_length).
FlopsPerToken flops_per_token(const model::Architecture& architecture, double sequence_length);

}  // namespace espalier::plan
