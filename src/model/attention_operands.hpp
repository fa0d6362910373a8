#pragma once
#include "kernels/attention/attention.hpp"
#include "kernels/attention/qk_norm_rope.hpp"
#include "model/activations.hpp"
#include "model/inputs.hpp"
#include "model/weights.hpp"

namespace espalier::model {

/// What rotation (QK-norm and RoPE) and attention of a block work on: the operands with which the
/// model runs these operators and the benchmarks time them. Shapes: BlockActivations. It
/// must not outlive what it refers to.
struct AttentionOperands {
  const Architecture& architecture;
  const LocalSizes& sizes;
  const Activations& a;
  const BlockActivations& b;
  const Inputs& inputs;
  device::View d_qkv = a.d_qkv;  ///< where the gradients go

  /// Only of models that rotate (LocalSizes::rotates); for the others attention reads qkv itself.
  kernels::QkNormRopeForward rotation(const BlockTensors& weights) const;
  /// From d_qkv, where attention leaves the gradients of q and k, to d_qkv.
  kernels::QkNormRopeBackward rotation_backward(const BlockTensors& weights,
                                                const BlockTensors& gradients) const;
  /// Of some heads, Activations::attention at a time: with a context group, whose keys and values
  /// lie in ContextScratch, and their gradients are left there.
  kernels::AttentionForward attention(KvHeads heads) const;
  kernels::AttentionBackward attention_backward(KvHeads heads) const;
  /// Of the first of these: of all heads without a context group.
  kernels::AttentionForward attention() const { return attention({0, a.attention.num_kv_heads}); }
  kernels::AttentionBackward attention_backward() const {
    return attention_backward({0, a.attention.num_kv_heads});
  }
  /// The heads' columns of what is made by this rank's tokens, (T, n D) each.
  device::ConstView own_keys(KvHeads heads) const;
  device::ConstView own_values(KvHeads heads) const;
  device::View d_own_keys(KvHeads heads) const;
  device::View d_own_values(KvHeads heads) const;
};

}  // namespace espalier::model
