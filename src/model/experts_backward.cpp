#include "kernels/elementwise.hpp"
#include "kernels/moe/dispatch.hpp"
#include "kernels/moe/expert_swiglu.hpp"
#include "kernels/moe/grouped_product.hpp"
#include "model/experts.hpp"

namespace espalier::model {

using device::ConstView;
using device::Output;
using device::Phase;
using device::View;

namespace {

/// A contiguous matrix as a column, or a row, of all its elements.
ConstView as_column(ConstView view) {
  return {view.data, view.dtype, view.size(), 1, 1};
}
View as_column(View view) {
  return {view.data, view.dtype, view.size(), 1, 1};
}
ConstView as_row(ConstView view) {
  return {view.data, view.dtype, 1, view.size(), view.size()};
}

}  // namespace

// An expert's output is not kept: the gradient of a weight w of y = sum w W_down h is
// <dy, W_down h> = <W_down^T dy, h>, and the operator has both factors.
void Experts::backward(const Layer& layer, const Backward& pass) {
  rounds_.set_counts(layer.counts);
  const DeferredExperts* later = pass.deferred;
  for (std::int64_t number = 0; number < rounds_.num_rounds(); ++number)
    round_backward(layer, number, pass, {.inputs = true, .weights = later == nullptr});
  const auto keep = [&](const View& kept, ConstView value) {
    if (kept.exists()) kernels::cast(context_, kept, value);
  };
  if (later != nullptr) {
    keep(later->n2, pass.n2);
    if (rounds_.num_rounds() > 1) keep(later->d_branch, pass.d_branch);
  }
  const auto phase = context_.profiler().scope(Phase::router);
  kernels::gather_rows(context_, {.in = come_back(way_of_weights(layer)),
                                  .index = as_row(layer.kept.place),
                                  .out = as_column(s_.d_weights)});
  router_backward(layer, pass);
  kernels::combine_rows(context_, {.rows = come_back(way_of_rows(layer)),
                                   .place = layer.kept.place,
                                   .weights = {},
                                   .add = pass.d_n2,
                                   .out = pass.d_n2});
}

void Experts::round_backward(const Layer& layer, std::int64_t number, const Backward& pass,
                             Parts parts) {
  begin_round(number);
  const bool first = number == 0;
  const DeferredExperts* later = first ? pass.deferred : nullptr;
  const Buffers b = buffers_of(layer, pass.deferred);
  const std::int64_t rows = round_->num_rows;
  const Way way = way_of_rows(layer), way_of_weight = way_of_weights(layer);
  if (!first || pass.remakes_rows) dispatch(layer, pass.n2, sizes_.experts_per_token, way, b.rows);
  if ((!first || pass.remakes_gate_up) && rows > 0) gate_up_forward(layer, b);
  dispatch(layer, pass.d_branch, sizes_.experts_per_token, way, b.dy);
  dispatch(layer, as_column(ConstView(layer.kept.weights)), 1, way_of_weight, b.row_weights);
  if (rows > 0) {
    {
      const auto phase = context_.profiler().scope(Phase::mlp);
      kernels::grouped_backward_input(
          context_,
          {.dy = b.dy, .w = layer.weights.expert_down, .offsets = round_->offsets, .dx = b.hidden});
    }
    const auto phase = context_.profiler().scope(Phase::activation);
    kernels::expert_swiglu_backward(context_, {.gate_up = b.gate_up,
                                               .d_hidden = b.hidden,
                                               .row_weights = b.row_weights,
                                               .d_gate_up = b.gate_up,
                                               .hidden = b.hidden,
                                               .d_row_weights = b.d_row_weights});
  }
  if (parts.weights) weight_products(layer, b, first ? pass.output : Output::accumulate);
  if (!parts.inputs) return;
  if (later != nullptr && rows > 0) {
    if (later->rows.exists()) kernels::cast(context_, later->rows.row_range(0, rows), b.rows);
    if (later->gate_up.exists())
      kernels::cast(context_, later->gate_up.row_range(0, rows), b.gate_up);
  }
  if (rows > 0) {
    const auto phase = context_.profiler().scope(Phase::mlp);
    kernels::grouped_backward_input(context_, {.dy = b.gate_up,
                                               .w = layer.weights.expert_gate_up,
                                               .offsets = round_->offsets,
                                               .dx = b.results});
  }
  collect(b.results, way);
  collect(b.d_row_weights, way_of_weight);
}

void Experts::weight_products(const Layer& layer, const Buffers& b, Output output) {
  const auto phase = context_.profiler().scope(Phase::mlp);
  const BlockTensors& g = *layer.gradients;
  if (round_->num_rows == 0) {
    if (output == Output::accumulate) return;
    kernels::set_zero(context_, g.expert_down);
    kernels::set_zero(context_, g.expert_gate_up);
    return;
  }
  kernels::grouped_backward_weight(context_, {.dy = b.dy,
                                              .x = b.hidden,
                                              .offsets = round_->offsets,
                                              .dw = g.expert_down,
                                              .output = output});
  kernels::grouped_backward_weight(context_, {.dy = b.gate_up,
                                              .x = b.rows,
                                              .offsets = round_->offsets,
                                              .dw = g.expert_gate_up,
                                              .output = output});
}

// Leaves its part of d_n2 there.
void Experts::router_backward(const Layer& layer, const Backward& pass) {
  const ExpertActivations& a = layer.kept;
  const View d_logits =
      pass.deferred != nullptr ? pass.deferred->d_logits : s_.d_logits.row_range(0, pass.n2.rows);
  kernels::balance_loss(context_, {.probabilities = a.probabilities,
                                   .log_sum_exp = a.log_sum_exp,
                                   .counts = pass.balance.counts,
                                   .place = pass.balance.place,
                                   .balance_scale = pass.balance.balance_scale,
                                   .z_scale = pass.balance.z_scale,
                                   .sums = s_.balance_sums.row_range(layer.number, 1)});
  kernels::router_backward(context_, {.probabilities = a.probabilities,
                                      .log_sum_exp = a.log_sum_exp,
                                      .experts = a.chosen,
                                      .weights = a.weights,
                                      .normalize = architecture_.norm_topk_prob,
                                      .d_weights = s_.d_weights,
                                      .counts = pass.balance.counts,
                                      .place = pass.balance.place,
                                      .balance_scale = pass.balance.balance_scale,
                                      .z_scale = pass.balance.z_scale,
                                      .d_logits = d_logits});
  context_.gemm().backward_input(pass.d_n2, d_logits, layer.weights.router);
  if (pass.deferred == nullptr)
    context_.gemm().backward_weight(layer.gradients->router, d_logits, pass.n2, pass.output);
}

void Experts::backward_weights(const Layer& layer, const DeferredExperts& deferred, ConstView n2,
                               Output output) {
  rounds_.set_counts(layer.counts);
  begin_round(0);
  Buffers b = buffers_of(layer, &deferred);
  const auto moved = [&](const View& kept, View& buffer) {
    if (kept.exists()) buffer = kept.row_range(0, round_->num_rows);
  };
  moved(deferred.rows, b.rows);
  moved(deferred.gate_up, b.gate_up);
  weight_products(layer, b, output);
  const Backward again{.n2 = n2,
                       .d_branch = deferred.d_branch,
                       .d_n2 = {},
                       .remakes_rows = true,
                       .remakes_gate_up = true,
                       .output = Output::accumulate,
                       .deferred = nullptr,
                       .balance = {}};
  for (std::int64_t number = 1; number < rounds_.num_rounds(); ++number)
    round_backward(layer, number, again, {.inputs = false, .weights = true});
  const auto phase = context_.profiler().scope(Phase::router);
  context_.gemm().backward_weight(layer.gradients->router, deferred.d_logits, n2, output);
}

Experts::Way Experts::way_of_weights(const Layer& layer) const {
  const std::int64_t pairs = layer.kept.order.cols;
  return {.pairs = exchanges() ? s_.d_pair_weights.row_range(0, pairs) : s_.d_pair_weights,
          .received = s_.received_weights,
          .returned = s_.returned_weights};
}

}  // namespace espalier::model
