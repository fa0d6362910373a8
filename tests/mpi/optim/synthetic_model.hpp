#pragma once
// A model that is nothing but its tensor table: every rule of division and every gradient sum, with
// initial values and gradients that are pure functions of global indices.
#include <cmath>
#include <cstdint>
#include <string>
#include <vector>

#include "optim/adamw.hpp"
#include "optim/gradient_norm.hpp"

namespace espalier::testing {

using parallel::Rectangle;
using parallel::ShardRule;
using parallel::Span;
using parallel::TensorSpec;

/// Sizes that leave uneven and empty shards on 3 and 4 data ranks.
inline std::vector<TensorSpec> synthetic_table(std::int64_t K, bool sequence_parallel) {
  std::vector<TensorSpec> table;
  table.push_back({.name = "embedding", .rows = 13, .cols = 6, .shard = ShardRule::vocab_rows});
  table.push_back({.name = "layernorm",
                   .rows = 6,
                   .is_vector = true,
                   .weight_decay = false,
                   .gradient_span = sequence_parallel ? Span::tokens : Span::tokens_shared});
  table.push_back({.name = "q", .rows = 24, .cols = 6, .shard = ShardRule::rows});
  table.push_back({.name = "k",
                   .rows = 5 * K,
                   .cols = 6,
                   .shard = ShardRule::kv_rows,
                   .gradient_span = Span::kv_tokens,
                   .num_kv_heads = K});
  table.push_back({.name = "k_norm",
                   .rows = 2,
                   .is_vector = true,
                   .weight_decay = false,
                   .gradient_span = Span::tokens});
  table.push_back({.name = "o", .rows = 6, .cols = 24, .shard = ShardRule::columns});
  table.push_back({.name = "up", .rows = 360, .cols = 101, .shard = ShardRule::rows});
  return table;
}

/// A number in (-1, 1) for each combination of indices.
inline float pseudo_random(std::uint64_t a, std::uint64_t b, std::uint64_t c) {
  std::uint64_t word = a * 0x9E3779B97F4A7C15U ^ b * 0xD1B54A32D192ED03U ^ c * 0xA24BAED4963EE407U;
  word = (word ^ (word >> 31)) * 0xBF58476D1CE4E5B9U;
  word = (word ^ (word >> 29)) * 0x94D049BB133111EBU;
  return static_cast<float>(word >> 40) / 8388608.0F - 1.0F;
}

inline float initial_value(std::size_t tensor, std::int64_t element) {
  return 0.1F * pseudo_random(tensor + 1, static_cast<std::uint64_t>(element) + 1, 1);
}

/// What one rank's backward pass leaves. `source` tells apart the ranks whose gradients differ.
inline float gradient_value(std::size_t tensor, std::int64_t element, int step, int source) {
  return pseudo_random(tensor + 1, static_cast<std::uint64_t>(element) + 1,
                       static_cast<std::uint64_t>(1000 * step + source + 2));
}

/// Whether the tensor ranks that hold an element have different parts of its gradient.
inline bool is_partial(const TensorSpec& spec) {
  return spec.gradient_span != Span::tokens_shared;
}

inline bool holds(const Rectangle& shard, std::int64_t row, std::int64_t col) {
  return shard.row_begin <= row && row < shard.row_end && shard.col_begin <= col &&
         col < shard.col_end;
}

/// One rank's share of the synthetic model and its optimizer.
template <class T>
class SyntheticModel {
 public:
  SyntheticModel(const std::vector<TensorSpec>& table, const parallel::ProcessGrid& grid,
                 int zero_stage)
      : table_(table),
        grid_(grid),
        arena_(device::Arena::backed("optimizer", 1 << 21)),
        store_(make_tensors(), grid, zero_stage),
        optimizer_(store_, arena_),
        norm_(store_, arena_) {
    for (auto& state : optimizer_.state())
      for_elements(state.shard.tensor, state.shard.rectangle,
                   [&](std::int64_t local, std::int64_t element) {
                     state.master.template as<float>()[local] =
                         initial_value(static_cast<std::size_t>(state.shard.tensor), element);
                   });
  }

  /// The ranks' gradients become value(tensor, global element) before they are summed; returns the
  /// sums of squares over all ranks, one per tensor. Collective.
  template <class Value>
  std::vector<double> reduce(device::Context& context, parallel::GridCommunicators& comm,
                             Value&& value) {
    for (std::size_t i = 0; i < table_.size(); ++i)
      for_elements(static_cast<std::int64_t>(i), shard(i),
                   [&](std::int64_t local, std::int64_t element) {
                     gradients_[i][static_cast<std::size_t>(local)] = value(i, element);
                   });
    store_.connect(comm);
    for (int bucket = store_.num_buckets() - 1; bucket >= 0; --bucket)
      store_.accumulated(context, bucket, /*last=*/true);
    const std::span<const double> mine = norm_.square_sums(context);
    std::vector<double> sums(mine.begin(), mine.end());
    comm.world->all_reduce_sum(sums);
    return sums;
  }

  /// One step; returns the gradient norm.
  double step(device::Context& context, parallel::GridCommunicators& comm, int step,
              const config::OptimizerParameters& parameters, double learning_rate) {
    const std::vector<double> sums =
        reduce(context, comm, [&](std::size_t i, std::int64_t element) {
          const int source =
              100 * grid_.data_rank() + (is_partial(table_[i]) ? grid_.tensor_rank() : 0);
          return gradient_value(i, element, step, source);
        });
    const double norm = std::sqrt(optim::squared_norm(sums));
    optimizer_.update(context, parameters,
                      {.learning_rate = learning_rate,
                       .gradient_scale = optim::clip_scale(norm, parameters.max_grad_norm),
                       .step = step},
                      nullptr);
    store_.gather(context);
    return norm;
  }

  /// body(local element, global element) over a rectangle stored by rows.
  template <class Body>
  void for_elements(std::int64_t tensor, const Rectangle& r, Body&& body) const {
    const std::int64_t cols = table_[static_cast<std::size_t>(tensor)].cols;
    std::int64_t local = 0;
    for (auto row = r.row_begin; row < r.row_end; ++row)
      for (auto col = r.col_begin; col < r.col_end; ++col) body(local++, row * cols + col);
  }

  Rectangle shard(std::size_t i) const { return parallel::held_shard(table_[i], grid_); }
  parallel::ParameterStore& store() { return store_; }
  optim::AdamW& optimizer() { return optimizer_; }
  const std::vector<T>& weights(std::size_t i) const { return weights_[i]; }

 private:
  std::vector<parallel::LocalTensor> make_tensors() {
    std::vector<parallel::LocalTensor> tensors;
    for (std::size_t i = 0; i < table_.size(); ++i) {
      const Rectangle r = shard(i);
      weights_.emplace_back(static_cast<std::size_t>(r.size()));
      gradients_.emplace_back(static_cast<std::size_t>(r.size()));
      tensors.push_back({.spec = &table_[i],
                         .weight = device::view_of(weights_[i].data(), r.rows(), r.cols()),
                         .gradient = device::view_of(gradients_[i].data(), r.rows(), r.cols()),
                         .bucket = static_cast<int>(i % 3)});
    }
    return tensors;
  }

  const std::vector<TensorSpec>& table_;
  parallel::ProcessGrid grid_;
  std::vector<std::vector<T>> weights_;
  std::vector<std::vector<float>> gradients_;
  device::Arena arena_;
  parallel::ParameterStore store_;
  optim::AdamW optimizer_;
  optim::GradientNorm norm_;
};

/// The same training in double on one process that holds everything.
class SerialReference {
 public:
  SerialReference(const std::vector<TensorSpec>& table, parallel::GridShape shape)
      : table_(table), shape_(shape) {
    for (std::size_t i = 0; i < table.size(); ++i) {
      tensors_.emplace_back(static_cast<std::size_t>(table[i].num_elements()));
      for (std::size_t e = 0; e < tensors_[i].size(); ++e)
        tensors_[i][e].p = initial_value(i, static_cast<std::int64_t>(e));
    }
  }

  double step(int step, const config::OptimizerParameters& o, double learning_rate) {
    double squares = 0.0;
    for (std::size_t i = 0; i < table_.size(); ++i)
      for (std::size_t e = 0; e < tensors_[i].size(); ++e) {
        tensors_[i][e].g = gradient(i, static_cast<std::int64_t>(e), step);
        squares += tensors_[i][e].g * tensors_[i][e].g;
      }
    const double norm = std::sqrt(squares);
    const double scale = norm > o.max_grad_norm ? o.max_grad_norm / norm : 1.0;
    for (std::size_t i = 0; i < table_.size(); ++i)
      for (Element& x : tensors_[i]) {
        const double g = scale * x.g;
        x.p -= learning_rate * (table_[i].weight_decay ? o.weight_decay : 0.0) * x.p;
        x.m = o.beta1 * x.m + (1.0 - o.beta1) * g;
        x.v = o.beta2 * x.v + (1.0 - o.beta2) * g * g;
        x.p -= learning_rate * (x.m / (1.0 - std::pow(o.beta1, step))) /
               (std::sqrt(x.v / (1.0 - std::pow(o.beta2, step))) + o.eps);
      }
    return norm;
  }
  double weight(std::size_t i, std::int64_t element) const {
    return tensors_[i][static_cast<std::size_t>(element)].p;
  }

 private:
  struct Element {
    double p = 0.0, m = 0.0, v = 0.0, g = 0.0;
  };
  double gradient(std::size_t i, std::int64_t element, int step) const {
    const TensorSpec& spec = table_[i];
    double sum = 0.0;
    for (int d = 0; d < shape_.data; ++d) {
      if (!is_partial(spec)) {
        sum += gradient_value(i, element, step, 100 * d);
        continue;
      }
      for (int t = 0; t < shape_.tensor; ++t)
        if (holds(parallel::tensor_shard(spec, t, shape_.tensor), element / spec.cols,
                  element % spec.cols))
          sum += gradient_value(i, element, step, 100 * d + t);
    }
    return sum;
  }

  const std::vector<TensorSpec>& table_;
  parallel::GridShape shape_;
  std::vector<std::vector<Element>> tensors_;
};

}  // namespace espalier::testing
