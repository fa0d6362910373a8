#pragma once
#include <cstddef>

#include "base/dtype.hpp"
#include "device/context.hpp"
#include "model/weights.hpp"

namespace espalier::model {

/// The dtype in which each operand of a linear layer's products is multiplied. Whatever it says,
/// sums are accumulated in fp32 and gradients of weights are fp32.
struct LinearPrecision {
  DType input;            ///< x, in the forward product and in dW
  DType weight;           ///< W, in the forward product and in dX
  DType output_gradient;  ///< dy, in dX and in dW

  /// All of them as they lie in memory.
  static constexpr LinearPrecision of(DType compute) { return {compute, compute, compute}; }
};

/// A linear layer y = x W^T + b on this rank, W (out, in) as in Hugging Face, for T tokens: its
/// three products and the bias's part of them. All layers of the model go through it. Cost of each
/// product: 2*T*out*in FLOPs. Operands of other dtypes or shapes are Error (internal).
struct Linear {
  LinearTensors weights;    ///< compute dtype
  LinearTensors gradients;  ///< f32; absent for evaluation and generation
  LinearPrecision precision;

  /// y (T, out) = x (T, in) W^T + b, with no pass over memory of its own for the bias.
  /// `adds_bias`: false on all tensor ranks but the first when y is a partial sum over the ranks,
  /// which the bias joins once.
  void forward(device::Context& context, device::View y, device::ConstView x,
               bool adds_bias = true) const;
  /// dx (T, in) = dy (T, out) W.
  void backward_input(device::Context& context, device::View dx, device::ConstView dy) const;
  /// dW (+)= dy^T x, which replaces what is there or is added to it; db += sum of the rows of dy.
  void backward_weight(device::Context& context, device::ConstView dy, device::ConstView x,
                       device::Output output) const {
    backward_weight(context, dy, x, output, dy);
  }
  /// The same for a layer whose y is a partial sum over the tensor group: db is summed over the
  /// rows of `bias_dy` (T_loc, out), this rank's own tokens. With sequence parallelism the group
  /// adds up the ranks' db, and from the gathered `dy` every token would be counted on each rank.
  void backward_weight(device::Context& context, device::ConstView dy, device::ConstView x,
                       device::Output output, device::ConstView bias_dy) const;
};

/// A layer of a block: block_linear(weights, layer, &BlockTensors::qkv).
Linear block_linear(const Weights& weights, std::size_t layer, LinearTensors BlockTensors::*part);
/// The LM head, which has no bias.
Linear head_linear(const Weights& weights);

}  // namespace espalier::model
