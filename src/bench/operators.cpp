#include "bench/operators.hpp"

#include <algorithm>
#include <functional>
#include <vector>

#include "base/log.hpp"
#include "bench/attention.hpp"
#include "bench/grouped.hpp"
#include "bench/job.hpp"
#include "bench/operator_timer.hpp"
#include "kernels/attention/attention_provider.hpp"
#include "kernels/operator_list.hpp"
#include "model/attention_operands.hpp"
#include "model/inputs.hpp"
#include "model/linear.hpp"
#include "model/parts.hpp"

// Every operator of a training step alone, at the shapes that the input gives it on this rank.

namespace espalier::bench {
namespace {

using device::ConstView;
using device::Context;
using device::Output;
using device::View;

class OperatorBench {
 public:
  OperatorBench(BenchJob& job, int data_rank)
      : job_(job),
        context_(job.rank_context.context),
        architecture_(job.model.memory.architecture),
        sizes_(job.model.memory.weights->sizes()),
        w_(job.model.memory.weights->weights),
        g_(job.model.memory.weights->gradients),
        a_(*job.model.memory.activations),
        gradient_norm_(*job.model.memory.gradient_norm),
        optimizer_(*job.model.memory.optimizer),
        parameters_(job.parameters),
        timer_(job.rank_context.context),
        host_batch_(random_batch(job.parameters, data_rank)),
        slot_(a_.chunks.front().slots.front()),
        batch_(slot_.inputs) {
    model::gather_inputs(context_, a_, slot_, train::as_batch(host_batch_));
    model::BlockActivations& b = slot_.blocks.front();
    for (const View& view : {b.x,
                             b.n1,
                             b.qkv,
                             b.qk,
                             b.o,
                             b.x_mid,
                             b.n2,
                             b.gate_up,
                             slot_.x_final,
                             slot_.n_final,
                             a_.branch,
                             a_.mlp_hidden,
                             a_.logits,
                             a_.d_residual,
                             a_.d_o,
                             a_.d_qkv,
                             b.experts.rows,
                             b.experts.gate_up,
                             a_.experts.hidden,
                             a_.experts.pairs,
                             a_.experts.pair_weights,
                             a_.experts.row_weights,
                             a_.experts.d_weights})
      if (view.exists()) randomize(context_, view);
    for (const View& view : {b.norm1, b.norm2, slot_.norm_final}) randomize(context_, view, 1.0f);
  }

  std::vector<Timed> run() {
    embedding();
    norms();
    projections();
    attention();
    if (sizes_.is_sparse(a_.chunks.front().extent.first))
      experts();
    else
      mlp();
    head();
    optimizer();
    return std::move(timer_.rows);
  }

 private:
  void measure(const std::string& name, const std::function<void()>& body) {
    timer_.measure(name, body);
  }

  void embedding() {
    const View out = a_.shape.splits_tokens ? a_.branch : slot_.blocks.front().x;
    measure("embedding", [&] {
      kernels::embedding_forward(context_, {.tokens = batch_.tokens,
                                            .table = w_.embedding,
                                            .first_row = sizes_.vocab_first,
                                            .out = out});
    });
    measure("embedding backward", [&] {
      kernels::embedding_backward(context_, {.tokens = batch_.tokens,
                                             .d_out = a_.branch,
                                             .first_row = sizes_.vocab_first,
                                             .d_table = g_.embedding,
                                             .order = a_.token_order});
    });
  }

  void norms() {
    model::BlockActivations& b = slot_.blocks.front();
    const View branch = a_.branch.row_range(0, b.x.rows);
    measure("residual + norm", [&] {
      model::norm_forward(context_, architecture_,
                          {.x = b.x,
                           .delta = branch,
                           .weights = w_.blocks.front().input_layernorm,
                           .residual = b.x_mid,
                           .y = b.n1,
                           .statistics = b.norm1});
    });
    measure("norm backward", [&] {
      model::norm_backward(context_, architecture_,
                           {.dy = branch,
                            .x = b.x_mid,
                            .weights = w_.blocks.front().input_layernorm,
                            .statistics = b.norm1,
                            .d_residual = a_.d_residual,
                            .dx = a_.d_residual,
                            .gradients = g_.blocks.front().input_layernorm});
    });
  }

  /// The three products of a linear layer y = x W^T.
  void linear(const std::string& name, View y, View x, const model::LinearTensors& w,
              const model::LinearTensors& g) {
    // The bias's gradient is a sum over rows, not a product.
    const model::Linear layer{.weights = w,
                              .gradients = {.weight = g.weight, .bias = {}},
                              .precision = model::LinearPrecision::of(w.weight.dtype)};
    measure(name + " product", [&] { layer.forward(context_, y, x); });
    measure(name + " product, dX", [&] { layer.backward_input(context_, x, y); });
    measure(name + " product, dW",
            [&] { layer.backward_weight(context_, y, x, Output::accumulate); });
  }

  void projections() {
    const model::BlockTensors& w = w_.blocks.front();
    const model::BlockTensors& g = g_.blocks.front();
    linear("qkv", slot_.blocks.front().qkv, all_tokens(slot_.blocks.front().n1), w.qkv, g.qkv);
    linear("o", a_.branch, slot_.blocks.front().o, w.o, g.o);
  }

  /// A buffer of all tokens in place of one of this rank's tokens.
  View all_tokens(const View& local) const {
    return local.rows == a_.shape.tokens() ? local : a_.gathered_a;
  }

  void attention() {
    model::BlockActivations& b = slot_.blocks.front();
    const model::BlockTensors& w = w_.blocks.front();
    const model::BlockTensors& g = g_.blocks.front();
    if (sizes_.rotates) {
      const model::AttentionOperands operands{architecture_, sizes_, a_, b, batch_};
      measure("QK-norm + RoPE",
              [&] { kernels::qk_norm_rope_forward(context_, operands.rotation(w)); });
      measure("QK-norm + RoPE backward",
              [&] { kernels::qk_norm_rope_backward(context_, operands.rotation_backward(w, g)); });
    }
    time_attention(timer_, job_, a_.shape.attention, "attention");
    if (context_.backend() != device::Backend::cuda) return;
    // Those that can be had, each as it would be asked for by name; training takes one of them.
    const std::size_t num_rows = timer_.rows.size();
    for (const auto provider : {kernels::AttentionProvider::mma, kernels::AttentionProvider::wgmma,
                                kernels::AttentionProvider::cudnn})
      time_attention(timer_, job_, provider,
                     fmt::format("attention, {}", kernels::name_of(provider)));
    for (std::size_t i = num_rows; i < timer_.rows.size(); ++i)
      timer_.rows[i].is_alternative = true;
  }

  void mlp() {
    model::BlockActivations& b = slot_.blocks.front();
    const model::BlockTensors& w = w_.blocks.front();
    const model::BlockTensors& g = g_.blocks.front();
    linear("gate_up", b.gate_up, all_tokens(b.n2), w.gate_up, g.gate_up);
    measure("activation", [&] {
      model::activation_forward(context_, architecture_.mlp, b.gate_up, a_.mlp_hidden);
    });
    measure("activation backward", [&] {
      model::activation_backward(context_, architecture_.mlp, b.gate_up, a_.mlp_hidden);
    });
    linear("down", a_.branch, a_.mlp_hidden, w.down, g.down);
  }

  /// At an even load, on the rows of this rank's tokens.
  void experts() {
    const model::BlockActivations& b = slot_.blocks.front();
    const model::ExpertActivations& e = b.experts;
    const model::ExpertScratch& s = a_.experts;
    const model::BlockTensors& w = w_.blocks.front();
    const model::BlockTensors& g = g_.blocks.front();
    const std::int64_t rows = std::min(e.rows.rows, s.pairs.rows);
    std::vector<std::int64_t> offsets;
    for (std::int64_t expert = 0; expert <= sizes_.num_local_experts; ++expert)
      offsets.push_back(rows * expert / sizes_.num_local_experts);
    const View x = e.rows.row_range(0, rows), gate_up = e.gate_up.row_range(0, rows);
    const View hidden = s.hidden.row_range(0, rows), y = s.pairs.row_range(0, rows);
    using kernels::GroupedKind;
    const auto products = [&](const std::string& name, View out, View in, View weight,
                              View gradient) {
      measure(name + " product", [&] {
        kernels::grouped_forward(context_, {.x = in, .w = weight, .offsets = offsets, .y = out});
      });
      const auto by_each = [&](const char* which, const kernels::GroupedProblem& problem) {
        time_grouped(timer_, context_, problem, name + which);
      };
      by_each("", {GroupedKind::forward, in, weight, out, offsets});
      measure(name + " product, dX", [&] {
        kernels::grouped_backward_input(context_,
                                        {.dy = out, .w = weight, .offsets = offsets, .dx = in});
      });
      by_each(" dX", {GroupedKind::backward_input, out, weight, in, offsets});
      measure(name + " product, dW", [&] {
        kernels::grouped_backward_weight(
            context_,
            {.dy = out, .x = in, .offsets = offsets, .dw = gradient, .output = Output::accumulate});
      });
      by_each(" dW", {GroupedKind::backward_weight, out, in, gradient, offsets, true});
    };
    measure("router", [&] {
      context_.gemm().forward(e.probabilities, b.n2, w.router);
      kernels::router_forward(context_, {.logits = e.probabilities,
                                         .bias = {},
                                         .normalize = architecture_.norm_topk_prob,
                                         .probabilities = e.probabilities,
                                         .log_sum_exp = e.log_sum_exp,
                                         .experts = e.chosen,
                                         .weights = e.weights});
      kernels::sort_by_expert(
          context_, {.experts = e.chosen, .order = e.order, .place = e.place, .counts = s.counts});
    });
    measure("router backward", [&] {
      kernels::router_backward(context_, {.probabilities = e.probabilities,
                                          .log_sum_exp = e.log_sum_exp,
                                          .experts = e.chosen,
                                          .weights = e.weights,
                                          .normalize = architecture_.norm_topk_prob,
                                          .d_weights = s.d_weights,
                                          .counts = {},
                                          .place = {},
                                          .d_logits = s.d_logits.row_range(0, b.n2.rows)});
    });
    measure("rows of tokens gathered", [&] {
      kernels::gather_rows(context_, {.in = b.n2,
                                      .index = e.order.col_range(0, rows),
                                      .divisor = sizes_.experts_per_token,
                                      .out = x});
    });
    products("experts' gate_up", gate_up, x, w.expert_gate_up, g.expert_gate_up);
    measure("experts' activation",
            [&] { model::activation_forward(context_, architecture_.mlp, gate_up, hidden); });
    const View row_weights = s.pair_weights.exists() ? s.pair_weights : s.row_weights;
    const View d_row_weights = s.pair_weights.exists() ? s.d_pair_weights : s.d_row_weights;
    measure("experts' activation backward", [&] {
      kernels::expert_swiglu_backward(context_,
                                      {.gate_up = gate_up,
                                       .d_hidden = hidden,
                                       .row_weights = row_weights.row_range(0, rows),
                                       .d_gate_up = gate_up,
                                       .hidden = hidden,
                                       .d_row_weights = d_row_weights.row_range(0, rows)});
    });
    products("experts' down", y, hidden, w.expert_down, g.expert_down);
    measure("rows of tokens combined", [&] {
      kernels::combine_rows(context_, {.rows = s.pairs,
                                       .place = e.place,
                                       .weights = e.weights,
                                       .add = {},
                                       .out = a_.branch.row_range(0, b.n2.rows)});
    });
  }

  void head() {
    const std::int64_t count = a_.shape.loss_chunk_tokens;
    const View n = all_tokens(slot_.n_final).row_range(0, count);
    const ConstView targets = batch_.targets.col_range(0, count);
    linear("LM head, a chunk:", a_.logits, n, {.weight = w_.lm_head, .bias = {}},
           {.weight = g_.lm_head, .bias = {}});
    const View statistics = a_.statistics.row_range(0, count);
    measure("cross-entropy, a chunk", [&] {
      kernels::cross_entropy_statistics(context_, {.logits = a_.logits,
                                                   .targets = targets,
                                                   .first_col = sizes_.vocab_first,
                                                   .num_valid_cols = sizes_.vocab_valid,
                                                   .statistics = statistics});
      kernels::cross_entropy_combine(context_, {.statistics = statistics,
                                                .targets = targets,
                                                .num_parts = 1,
                                                .loss = a_.token_loss,
                                                .log_sum_exp = a_.log_sum_exp});
      kernels::add_losses(context_, a_.loss_sum, a_.token_loss);
    });
    measure("cross-entropy backward", [&] {
      kernels::cross_entropy_backward(context_, {.logits = a_.logits,
                                                 .targets = targets,
                                                 .log_sum_exp = a_.log_sum_exp,
                                                 .first_col = sizes_.vocab_first,
                                                 .num_valid_cols = sizes_.vocab_valid,
                                                 .scale = 1.0f});
    });
  }

  void optimizer() {
    measure("gradient norm", [&] { gradient_norm_.square_sums(context_); });
    measure("AdamW", [&] {
      optimizer_.update(context_, parameters_.optimizer,
                        {.learning_rate = 0.0, .gradient_scale = 1.0, .step = 1},
                        [](std::int64_t) {});
    });
  }

  BenchJob& job_;
  Context& context_;
  const model::Architecture& architecture_;
  model::LocalSizes sizes_;
  model::ModelTensors& w_;
  model::ModelTensors& g_;
  model::Activations& a_;
  optim::GradientNorm& gradient_norm_;
  optim::AdamW& optimizer_;
  const config::Parameters& parameters_;
  OperatorTimer timer_;
  data::MicroBatch host_batch_;
  model::Slot& slot_;
  const model::Inputs& batch_;
};

}  // namespace

std::vector<Timed> time_operators(BenchJob& job) {
  return OperatorBench(job, job.rank_context.grid.data_rank()).run();
}

}  // namespace espalier::bench
