#pragma once
#include <cstddef>
#include <cstdint>
#include <string_view>

namespace espalier::device {

/// What a rank may be spending its time on. The table at the end of a run has one line per phase.
enum class Phase : std::uint8_t {
  data,         ///< gathering the tokens of a batch
  embedding,    ///< look-up and its gradient
  norm,         ///< norms and residual additions
  projections,  ///< GEMMs of QKV and o_proj
  rope,         ///< QK-norm and RoPE
  attention,
  mlp,                     ///< GEMMs of gate, up and down
  activation,              ///< SwiGLU or GELU
  router,                  ///< choice of experts, and moving of rows to and from their places
  head,                    ///< GEMMs of the LM head
  loss,                    ///< softmax and cross-entropy
  tensor_communication,    ///< collectives of the tensor axis
  context_communication,   ///< keys and values of the context group, sums of their gradients
  expert_communication,    ///< rows of tokens to the experts' ranks and back, counts of choices
  pipeline_communication,  ///< messages between stages, and waiting for them: a pipeline's bubble
  gradient_communication,  ///< reduce-scatter of gradients
  weight_communication,    ///< all-gather of updated weights
  clipping,                ///< gradient norm and the step's small all-reduce
  optimizer,               ///< AdamW
  validation,
  checkpoint,
  other,
  count
};
std::string_view name_of(Phase phase);
constexpr std::size_t kNumPhases = static_cast<std::size_t>(Phase::count);

}  // namespace espalier::device
