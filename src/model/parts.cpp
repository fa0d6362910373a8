#include "model/parts.hpp"

#include "base/error.hpp"
#include "kernels/mlp/gelu.hpp"
#include "kernels/mlp/swiglu.hpp"
#include "kernels/norm/layernorm.hpp"
#include "kernels/norm/rmsnorm.hpp"

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

void require_positions(const Architecture& architecture, std::int64_t length) {
  if (architecture.position_embedding == PositionEmbedding::learned &&
      length > architecture.max_positions)
    throw Error(ExitStatus::bad_configuration,
                fmt::format("sequences of {} tokens: the model has learned only {} positions "
                            "(model.max_position_embeddings); use shorter sequences",
                            length, architecture.max_positions),
                Met::by_every_rank);
}

void linear_forward(device::Context& context, View y, ConstView x, const LinearTensors& weights,
                    bool holds_bias) {
  context.gemm().forward(y, x, weights.weight, Output::replace,
                         holds_bias ? ConstView(weights.bias) : ConstView{});
}

}  // namespace espalier::model
