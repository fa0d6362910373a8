#include "model/parts.hpp"

#include "kernels/gelu.hpp"
#include "kernels/layernorm.hpp"
#include "kernels/rmsnorm.hpp"
#include "kernels/swiglu.hpp"

namespace espalier::model {

using device::ConstView;
using device::Output;
using device::View;

void norm_forward(device::Context& context, const Architecture& architecture,
                  const NormForward& a) {
  switch (architecture.normalization) {
    case Normalization::rms_norm:
      return kernels::rmsnorm_forward(context, {.x = a.x,
                                                .delta = a.delta,
                                                .weight = a.weights.weight,
                                                .residual = a.residual,
                                                .y = a.y,
                                                .inverse_rms = a.statistics,
                                                .eps = architecture.norm_eps});
    case Normalization::layer_norm:
      return kernels::layernorm_forward(context, {.x = a.x,
                                                  .delta = a.delta,
                                                  .weight = a.weights.weight,
                                                  .bias = a.weights.bias,
                                                  .residual = a.residual,
                                                  .y = a.y,
                                                  .statistics = a.statistics,
                                                  .eps = architecture.norm_eps});
  }
}

void norm_backward(device::Context& context, const Architecture& architecture,
                   const NormBackward& a) {
  switch (architecture.normalization) {
    case Normalization::rms_norm:
      return kernels::rmsnorm_backward(context, {.dy = a.dy,
                                                 .x = a.x,
                                                 .weight = a.weights.weight,
                                                 .inverse_rms = a.statistics,
                                                 .d_residual = a.d_residual,
                                                 .dx = a.dx,
                                                 .d_weight = a.gradients.weight});
    case Normalization::layer_norm:
      return kernels::layernorm_backward(context, {.dy = a.dy,
                                                   .x = a.x,
                                                   .weight = a.weights.weight,
                                                   .statistics = a.statistics,
                                                   .d_residual = a.d_residual,
                                                   .dx = a.dx,
                                                   .d_weight = a.gradients.weight,
                                                   .d_bias = a.gradients.bias});
  }
}

void activation_forward(device::Context& context, Mlp mlp, ConstView gate_up, View hidden) {
  switch (mlp) {
    case Mlp::swiglu:
      return kernels::swiglu_forward(context, {.gate_up = gate_up, .out = hidden});
    case Mlp::gelu:
      return kernels::gelu_forward(context, {.x = gate_up, .out = hidden});
  }
}

void activation_backward(device::Context& context, Mlp mlp, View gate_up, View hidden) {
  switch (mlp) {
    case Mlp::swiglu:
      return kernels::swiglu_backward(
          context, {.gate_up = gate_up, .d_out = hidden, .d_gate_up = gate_up, .out = hidden});
    case Mlp::gelu:
      return kernels::gelu_backward(context,
                                    {.x = gate_up, .d_out = hidden, .d_x = gate_up, .out = hidden});
  }
}

void linear_forward(device::Context& context, View y, ConstView x, const LinearTensors& weights,
                    bool holds_bias) {
  context.gemm().forward(y, x, weights.weight, Output::replace,
                         holds_bias ? ConstView(weights.bias) : ConstView{});
}

}  // namespace espalier::model
