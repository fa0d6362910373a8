#pragma once
#include "kernels/attention/attention.hpp"
#include "kernels/attention/qk_norm_rope.hpp"
#include "model/activations.hpp"
#include "model/inputs.hpp"
#include "model/weights.hpp"

namespace espalier::model {

/// What rotation (QK-norm and RoPE) and attention of a block work on: the operands with which the
/// transformer runs these operators and the benchmarks time them. Shapes: BlockActivations. It
/// must not outlive what it refers to.
struct AttentionOperands {
  const Architecture& architecture;
  const LocalSizes& sizes;
  const Activations& a;
  const BlockActivations& b;
  const Inputs& inputs;

  /// Only of models that rotate (LocalSizes::rotates); for the others attention reads qkv itself.
  kernels::QkNormRopeForward rotation(const BlockTensors& weights) const;
  /// From d_qkv, where attention leaves the gradients of q and k, to d_qkv.
  kernels::QkNormRopeBackward rotation_backward(const BlockTensors& weights,
                                                const BlockTensors& gradients) const;
  kernels::AttentionForward attention() const;
  kernels::AttentionBackward attention_backward() const;
};

}  // namespace espalier::model
