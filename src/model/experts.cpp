#include "model/experts.hpp"

#include <algorithm>
#include <utility>

#include "base/integers.hpp"
#include "kernels/elementwise.hpp"
#include "kernels/mlp/swiglu.hpp"
#include "kernels/moe/dispatch.hpp"
#include "kernels/moe/grouped_product.hpp"

namespace espalier::model {

using device::ConstView;
using device::Phase;
using device::View;

Experts::Experts(const Place& place)
    : architecture_(place.architecture),
      sizes_(place.sizes),
      options_(place.options),
      capacity_(place.capacity),
      s_(place.scratch),
      bias_(place.bias),
      context_(place.context),
      comm_(place.communicators),
      rounds_(comm_.expert ? comm_.expert->size() : 1, comm_.expert ? comm_.expert->rank() : 0,
              sizes_.num_experts, capacity_),
      host_counts_(static_cast<std::size_t>(sizes_.num_experts)),
      own_counts_(static_cast<std::size_t>(sizes_.num_experts)) {
  const std::int64_t ranks = comm_.expert ? comm_.expert->size() : 1;
  ESPALIER_ASSERT(sizes_.num_local_experts * ranks == sizes_.num_experts,
                  "{} of {} experts on each of {} ranks", sizes_.num_local_experts,
                  sizes_.num_experts, ranks);
}

// The first round is the last to be done, so that buffers which blocks share end up with its rows.
void Experts::forward(const Layer& layer, ConstView n2, View branch) {
  route(layer, n2);
  learn_counts(layer);
  rounds_.set_counts(layer.counts);
  for (std::int64_t number = rounds_.num_rounds() - 1; number >= 0; --number) {
    begin_round(number);
    const Buffers b = buffers_of(layer, nullptr);
    dispatch(layer, n2, sizes_.experts_per_token, way_of_rows(layer), b.rows);
    if (round_->num_rows > 0) {
      gate_up_forward(layer, b);
      {
        const auto phase = context_.profiler().scope(Phase::activation);
        kernels::swiglu_forward(context_, {.gate_up = b.gate_up, .out = b.hidden});
      }
      const auto phase = context_.profiler().scope(Phase::mlp);
      kernels::grouped_forward(context_, {.x = b.hidden,
                                          .w = layer.weights.expert_down,
                                          .offsets = round_->offsets,
                                          .y = b.results});
    }
    collect(b.results, way_of_rows(layer));
  }
  const auto phase = context_.profiler().scope(Phase::router);
  kernels::combine_rows(context_, {.rows = come_back(way_of_rows(layer)),
                                   .place = layer.kept.place,
                                   .weights = layer.kept.weights,
                                   .add = {},
                                   .out = branch});
}

std::int64_t Experts::num_rounds(const Layer& layer) {
  rounds_.set_counts(layer.counts);
  return rounds_.num_rounds();
}

// Logits are sums in fp32 of products of the model's dtype; rounded to it only when asked for.
void Experts::route(const Layer& layer, ConstView n2) {
  const auto phase = context_.profiler().scope(Phase::router);
  const ExpertActivations& a = layer.kept;
  if (options_.rounds_logits && n2.dtype != DType::f32) {
    const View rounded = s_.d_logits.row_range(0, n2.rows);
    context_.gemm().forward(rounded, n2, layer.weights.router);
    kernels::cast(context_, a.probabilities, rounded);
  } else {
    context_.gemm().forward(a.probabilities, n2, layer.weights.router);
  }
  kernels::router_forward(context_,
                          {.logits = a.probabilities,
                           .bias = bias_.exists() ? bias_.row_range(layer.number, 1) : ConstView{},
                           .normalize = architecture_.norm_topk_prob,
                           .probabilities = a.probabilities,
                           .log_sum_exp = a.log_sum_exp,
                           .experts = a.chosen,
                           .weights = a.weights});
  kernels::sort_by_expert(
      context_, {.experts = a.chosen, .order = a.order, .place = a.place, .counts = s_.counts});
}

// Whoever only counts has no choices: then the load is as even as it can be.
void Experts::learn_counts(const Layer& layer) {
  {
    const auto phase = context_.profiler().scope(Phase::router);
    context_.download(host_counts_.data(), s_.counts);
  }
  const std::int64_t pairs = layer.kept.order.cols, num_experts = sizes_.num_experts;
  for (std::size_t e = 0; e < host_counts_.size(); ++e) {
    const std::int64_t even =
        pairs / num_experts + (static_cast<std::int64_t>(e) < pairs % num_experts ? 1 : 0);
    own_counts_[e] = context_.is_counting() ? even : host_counts_[e];
  }
  if (!exchanges()) {
    layer.counts.assign(own_counts_.begin(), own_counts_.end());
    return;
  }
  const auto phase = context_.profiler().scope(Phase::expert_communication);
  layer.counts.resize(own_counts_.size() * static_cast<std::size_t>(comm_.expert->size()));
  comm_.expert->all_gather_counts(layer.counts, own_counts_);
}

void Experts::begin_round(std::int64_t number) {
  round_number_ = number;
  round_ = &rounds_.round(number);
  has_places_ = !exchanges() || round_->num_rows == 0;
}

void Experts::make_places() {
  if (std::exchange(has_places_, true)) return;
  const auto phase = context_.profiler().scope(Phase::router);
  if (!context_.is_counting()) rounds_.fill_places(received_of_window_, window_of_received_);
  context_.upload(s_.received_of_window.col_range(0, round_->num_rows), received_of_window_.data());
  context_.upload(s_.window_of_received.col_range(0, round_->num_rows), window_of_received_.data());
}

Experts::Buffers Experts::buffers_of(const Layer& layer, const DeferredExperts* deferred) {
  const std::int64_t rows = round_->num_rows;
  const bool first = round_number_ == 0;
  if (!first) deferred = nullptr;  // further rounds are recomputed
  const auto window = [&](const View& view) {
    return view.rows > 0 ? view.row_range(0, rows) : View{};
  };
  // One rank's window is a part of its pairs.
  const auto results = [&](const View& of_pairs, const View& with_ranks) {
    return exchanges() ? window(with_ranks) : of_pairs.row_range(round_->send_begins.front(), rows);
  };
  Buffers b{.rows = window(first ? layer.kept.rows : s_.further_rows),
            .gate_up = window(first ? layer.kept.gate_up : s_.further_gate_up),
            .hidden = window(deferred != nullptr ? deferred->hidden : s_.hidden),
            .dy = {},
            .results = results(s_.pairs, s_.results),
            .row_weights = {},
            .d_row_weights = {}};
  b.dy = deferred != nullptr ? window(deferred->dy) : b.results;
  if (s_.d_pair_weights.exists()) {
    b.row_weights = results(s_.pair_weights, s_.row_weights);
    b.d_row_weights = results(s_.d_pair_weights, s_.d_row_weights);
  }
  return b;
}

Experts::Way Experts::way_of_rows(const Layer& layer) const {
  const std::int64_t pairs = layer.kept.order.cols;
  return {.pairs = s_.pairs.row_range(0, pairs),
          .received = s_.received,
          .returned = s_.returned.exists() ? s_.returned.row_range(0, pairs) : View{}};
}

void Experts::dispatch(const Layer& layer, ConstView source, std::int64_t divisor, const Way& way,
                       View window) {
  const auto gather = [&](ConstView in, ConstView index, std::int64_t by, View out) {
    const auto phase = context_.profiler().scope(Phase::router);
    if (out.rows > 0)
      kernels::gather_rows(context_, {.in = in, .index = index, .divisor = by, .out = out});
  };
  const ConstView order = layer.kept.order;
  if (!exchanges())
    return gather(source, order.col_range(round_->send_begins.front(), round_->num_rows), divisor,
                  window);
  if (rounds_.num_rounds() == 1) {
    gather(source, order, divisor, way.pairs);
  } else {
    std::int64_t sent = 0;
    for (std::size_t rank = 0; rank < round_->send_rows.size(); ++rank) {
      const std::int64_t rows = round_->send_rows[rank];
      gather(source, order.col_range(round_->send_begins[rank], rows), divisor,
             way.pairs.row_range(sent, rows));
      sent += rows;
    }
  }
  exchange(way.received, way.pairs, round_->send_rows, round_->receive_rows);
  // A GPU has rows to send meanwhile: nothing is on its way there since the counts were learnt.
  make_places();
  gather(way.received, s_.received_of_window.col_range(0, round_->num_rows), 1, window);
}

void Experts::collect(ConstView window, const Way& way) {
  if (!exchanges()) return;
  if (round_->num_rows > 0) {
    const auto phase = context_.profiler().scope(Phase::router);
    kernels::gather_rows(context_, {.in = window,
                                    .index = s_.window_of_received.col_range(0, round_->num_rows),
                                    .out = way.received.row_range(0, round_->num_rows)});
  }
  exchange(way.pairs, way.received, round_->receive_rows, round_->send_rows);
  if (rounds_.num_rounds() == 1) return;
  const auto phase = context_.profiler().scope(Phase::router);
  std::int64_t sent = 0;
  for (std::size_t rank = 0; rank < round_->send_rows.size(); ++rank) {
    const std::int64_t rows = round_->send_rows[rank];
    if (rows > 0)
      context_.copy(way.returned.row_range(round_->send_begins[rank], rows),
                    way.pairs.row_range(sent, rows));
    sent += rows;
  }
}

void Experts::exchange(View out, ConstView in, std::span<const std::int64_t> send_rows,
                       std::span<const std::int64_t> receive_rows) {
  const auto phase = context_.profiler().scope(Phase::expert_communication);
  comm_.expert->exchange_rows(out, in, send_rows, receive_rows);
}

void Experts::gate_up_forward(const Layer& layer, const Buffers& b) {
  const auto phase = context_.profiler().scope(Phase::mlp);
  kernels::grouped_forward(
      context_,
      {.x = b.rows, .w = layer.weights.expert_gate_up, .offsets = round_->offsets, .y = b.gate_up});
}

}  // namespace espalier::model
