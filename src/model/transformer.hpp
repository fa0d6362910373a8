#pragma once
#include <functional>

#include "device/context.hpp"
#include "model/activations.hpp"
#include "model/attention_operands.hpp"
#include "model/inputs.hpp"
#include "model/weights.hpp"
#include "parallel/boundary.hpp"
#include "parallel/comm/session.hpp"

namespace espalier::model {

/// The decoder on one rank of the grid. Forward and backward are written out block by block in
/// forward.cpp, head.cpp and backward.cpp; weights and buffers are owned by the caller's arenas.
class Transformer {
 public:
  /// All references must outlive the transformer. Fills the RoPE table. Throws as
  /// require_positions does.
  Transformer(const Architecture& architecture, Weights& weights, Activations& activations,
              device::Context& context, parallel::GridCommunicators& communicators);

  /// Called with a bucket's number when its gradients on this rank are final for the micro-batch.
  using BucketDone = std::function<void(int bucket)>;

  /// Called with a bucket's number right before a forward pass first uses its weights.
  using BeforeUse = std::function<void(int bucket)>;
  /// For weights that are still on their way when a pass begins (parallel::
  /// ParameterStore::acquire). The backward pass uses them after the forward pass.
  void set_before_use(BeforeUse before_use) { before_use_ = std::move(before_use); }

  /// Forward and backward of one micro-batch. Gradients of loss_scale * sum of token losses replace
  /// what is there (`first`) or are added. On a GPU it returns before the work is done.
  void train(const Batch& batch, float loss_scale, bool first, const BucketDone& bucket_done);

  /// The sum of the token losses of all micro-batches since it was last taken, the same on every
  /// rank of the tensor group. Waits for them.
  double take_loss_sum();

  /// Forward only: the sum of the token losses. Not between train and take_loss_sum.
  double evaluate(const Batch& batch);

  /// Forward only, with the logits of all tokens copied to `out` (T, V_loc) where the operators
  /// run, for tests and tools.
  void logits(const Batch& batch, device::View out);

 private:
  // forward.cpp
  enum class Pass { forward, backward };
  /// Does body(), as a CUDA graph where the context uses graphs and nothing in the block is a
  /// collective or depends on the host.
  template <class Body>
  void run_block(Pass pass, std::int64_t layer, bool first, const Inputs& inputs, Body&& body) {
    if (comm_.tensor->size() > 1 || a_.shape.recompute != Recompute::none) return body();
    const bool masked = inputs.document_start.exists();
    const auto key =
        ((static_cast<std::uint64_t>(layer) * 2 + (pass == Pass::forward ? 0 : 1)) * 2 +
         (first ? 1 : 0)) *
            2 +
        (masked ? 1 : 0);
    context_.replay(key, body);
  }
  void forward(const Inputs& inputs);
  void wait_for_bucket(std::int64_t bucket) {
    if (before_use_) before_use_(static_cast<int>(bucket));
  }
  void attention_forward(std::int64_t layer, const Inputs& inputs);
  AttentionOperands attention_operands(std::int64_t layer, const Inputs& inputs) const {
    return {architecture_, sizes_, a_, a_.blocks[static_cast<std::size_t>(layer)], inputs};
  }
  void mlp_forward(std::int64_t layer);
  // Their parts that the backward pass repeats when their results were not kept:
  void mlp_norm(std::int64_t layer);
  void rotate(std::int64_t layer, const Inputs& inputs);
  void gate_up_forward(std::int64_t layer, parallel::Rows rows, device::ConstView n2);
  /// residual = x + branch output; y = norm(residual).
  void residual_norm(device::ConstView x, const NormTensors& weights, device::View residual,
                     device::View y, device::View statistics);
  device::ConstView local_position_ids(const Inputs& inputs) const;  ///< (1, T_loc) i32
  /// The rank whose partial sums carry the biases of o_proj and down_proj.
  bool is_first_tensor_rank() const { return comm_.tensor->rank() == 0; }
  // head.cpp
  void head(const Inputs& inputs, bool with_gradients, float loss_scale, bool first);
  void head_statistics(device::ConstView targets, std::int64_t tokens);
  // backward.cpp
  void backward(const Inputs& inputs, bool first, const BucketDone& bucket_done);
  void recompute_block(std::int64_t layer, const Inputs& inputs);
  /// The buffers that all blocks share hold another block's results.
  bool was_overwritten(std::int64_t layer) const { return layer + 1 < sizes_.num_layers; }
  void mlp_backward(std::int64_t layer, bool first);
  void attention_backward(std::int64_t layer, const Inputs& inputs, bool first);
  void norm_backward(device::ConstView dy, device::ConstView x, const NormTensors& weights,
                     device::ConstView statistics, device::ConstView d_residual,
                     const NormTensors& gradients);
  void linear_bias_backward(const LinearTensors& gradients, device::ConstView dy);
  void clear_gradients_without_gemm();

  const Architecture& architecture_;
  LocalSizes sizes_;
  Weights& weights_;
  Activations& a_;
  device::Context& context_;
  parallel::GridCommunicators& comm_;
  parallel::TensorBoundary boundary_;
  BeforeUse before_use_;
  device::ConstView branch_;  ///< (T_loc, H) what the residual stream has yet to add
};

}  // namespace espalier::model
