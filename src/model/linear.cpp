#include "model/linear.hpp"

#include "kernels/bias.hpp"

namespace espalier::model {
namespace {

using device::ConstView;
using device::Output;
using device::View;

/// What a product multiplies for `view`. The dtype in memory is the only one so far; a policy with
/// another needs a buffer to cast into and the scales of the cast.
ConstView operand(ConstView view, DType dtype) {
  ESPALIER_ASSERT(view.dtype == dtype, "{} is to be multiplied in {}", device::describe(view),
                  name_of(dtype));
  return view;
}

}  // namespace

void Linear::forward(device::Context& context, View y, ConstView x, bool adds_bias) const {
  context.gemm().forward(y, operand(x, precision.input), operand(weights.weight, precision.weight),
                         Output::replace, adds_bias ? ConstView(weights.bias) : ConstView{});
}

void Linear::backward_input(device::Context& context, View dx, ConstView dy) const {
  context.gemm().backward_input(dx, operand(dy, precision.output_gradient),
                                operand(weights.weight, precision.weight));
}

void Linear::backward_weight(device::Context& context, ConstView dy, ConstView x, Output output,
                             ConstView bias_dy) const {
  context.gemm().backward_weight(gradients.weight, operand(dy, precision.output_gradient),
                                 operand(x, precision.input), output);
  if (gradients.bias.exists())
    kernels::bias_backward(context, {.dy = bias_dy, .d_bias = gradients.bias});
}

Linear block_linear(const Weights& weights, std::size_t layer, LinearTensors BlockTensors::*part) {
  const LinearTensors& of_layer = weights.weights.blocks[layer].*part;
  const bool trains = !weights.gradients.blocks.empty();
  return {.weights = of_layer,
          .gradients = trains ? weights.gradients.blocks[layer].*part : LinearTensors{},
          .precision = LinearPrecision::of(of_layer.weight.dtype)};
}

Linear head_linear(const Weights& weights) {
  const device::View lm_head = weights.weights.lm_head;
  return {.weights = {.weight = lm_head, .bias = {}},
          .gradients = {.weight = weights.gradients.lm_head, .bias = {}},
          .precision = LinearPrecision::of(lm_head.dtype)};
}

}  // namespace espalier::model
