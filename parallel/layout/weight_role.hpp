#pragma once
#include <cstdint>

namespace espalier::parallel {

/// What a weight does in the model, whatever its family calls it. A row of the tensor table finds
/// its storage by its role, its layer and whether it is a bias; no order of rows is relied on.
enum class WeightRole : std::uint8_t {
  embedding,
  position_embedding,
  attention_norm,  ///< before attention
  query,
  key,
  value,
  query_norm,
  key_norm,
  attention_output,
  mlp_norm,  ///< before the MLP
  gate,
  up,  ///< of an MLP without gate, its first product
  down,
  router,          ///< of a block with experts: scores of every expert
  expert_gate_up,  ///< of all experts of a block: rows of an expert's gate, then of its up
  expert_down,
  final_norm,
  lm_head,
};

}  // namespace espalier::parallel
