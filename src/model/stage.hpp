#pragma once
#include <functional>
#include <memory>
#include <vector>

#include "device/context.hpp"
#include "model/activations.hpp"
#include "model/attention_operands.hpp"
#include "model/experts.hpp"
#include "model/inputs.hpp"
#include "model/linear.hpp"
#include "model/weights.hpp"
#include "parallel/boundary.hpp"
#include "parallel/comm/session.hpp"
#include "parallel/parameter_store.hpp"

namespace espalier::model {

/// Consecutive blocks of the model on one rank (a chunk of Activations), with the embeddings where
/// they begin it and final norm, LM head and loss where they end it: a stage of a pipeline, or all
/// of the model. The stages of a rank share its weights and activations. What a micro-batch leaves
/// for its backward pass is in its slot, so that several can be on their way. Passes are written
/// out part by part, forward and backward side by side, in embedding.cpp, attention.cpp, mlp.cpp
/// and head.cpp; weights and buffers are owned by the caller's arenas.
///
/// A stage without embeddings is given its input, the complete residual stream, and leaves the
/// gradient of that; one without head leaves its output and is given the gradient of that. All four
/// are (T_loc, H).
class Stage {
 public:
  /// All references must outlive the stage. Fills the RoPE table. Throws as require_positions
  /// does.
  Stage(const Architecture& architecture, Weights& weights, Activations& activations,
        device::Context& context, parallel::GridCommunicators& communicators,
        std::size_t chunk = 0);
  Stage(const Stage&) = delete;
  Stage& operator=(const Stage&) = delete;

  /// Called with the number of a bucket (Buckets).
  using OfBucket = std::function<void(int bucket)>;
  /// `acquire` right before a pass uses the weights of a bucket, `release` when it has used them
  /// (parallel::ParameterStore).
  void set_weight_use(OfBucket acquire, OfBucket release) {
    acquire_ = std::move(acquire);
    release_ = std::move(release);
  }
  /// The same with the store of the stage's weights, which must outlive it.
  void set_weight_use(parallel::ParameterStore& parameters) {
    set_weight_use([this, &parameters](int bucket) { parameters.acquire(context_, bucket); },
                   [&parameters](int bucket) { parameters.release(bucket); });
  }
  /// Called behind every block of a pass, and behind the head of a backward pass, for what must not
  /// wait for the end of the pass; empty: nothing is.
  void set_between_blocks(std::function<void()> call) { between_blocks_ = std::move(call); }

  /// Gathers a micro-batch of ActivationShape's sizes into the slot. On return `batch` may go.
  void load(int slot, const Batch& batch);
  /// Embedding and blocks, up to the final norm. `input` may go on return, and `output` is
  /// complete.
  void forward(int slot, device::ConstView input = {}, device::View output = {});

  struct BackwardPass {
    float loss_scale;                 ///< gradients are those of loss_scale * sum of token losses
    bool first;                       ///< they replace what is there; otherwise they are added
    bool last;                        ///< of the step: a tied weight's two gradients are added up
    OfBucket bucket_done;             ///< the gradients of a bucket are final for the micro-batch
    device::ConstView d_output = {};  ///< of a stage without head
    device::View d_input = {};        ///< of a stage without embeddings
    /// Of the step, of all ranks, for losses that keep experts balanced; 0: without them.
    double num_sequences = 0.0;
  };
  /// Loss and gradients, those of weights beside the collectives of those of inputs.
  void backward(int slot, const BackwardPass& pass);
  /// The same in two parts with the same bits: first what the stage before waits for, with the
  /// gradients of norms, embeddings and LM head; then, whenever there is time, those of the blocks'
  /// matrices, for which the first part leaves what they need in a weight slot. Each of the two
  /// takes the micro-batches in their order.
  void backward_inputs(int slot, int weight_slot, const BackwardPass& pass);
  void backward_weights(int slot, int weight_slot, const BackwardPass& pass);
  /// After forward, of a stage with a head: adds the losses of the slot's tokens to the sum.
  void add_losses(int slot);

  // A stage that is the whole model, in slot 0:

  /// Forward and backward of one micro-batch. On a GPU it returns before the work is done.
  void train(const Batch& batch, const BackwardPass& pass);
  /// Forward only: the sum of the token losses. Not between train and take_loss_sum.
  double evaluate(const Batch& batch);
  /// Forward only, with the logits of all tokens copied to `out` (T, V_loc) where the operators
  /// run, for tests and tools.
  void logits(const Batch& batch, device::View out);

  /// The sum of the token losses of all micro-batches since it was last taken, by any stage of the
  /// rank; the same on every rank of the tensor group. Waits for them.
  double take_loss_sum();
  /// What this rank's tokens asked of experts in all backward passes since it was last taken;
  /// empty without experts. Waits for them.
  ExpertStatistics take_expert_statistics();

 private:
  /// A block of a slot with its weights.
  struct Block {
    std::int64_t layer;  ///< of the model
    Recompute recompute;
    const Slot& slot;
    const BlockActivations& b;
    const DeferredProducts* deferred;  ///< null: gradients of weights are not deferred
    std::size_t place;                 ///< of slot and block among all of this stage
    const BlockTensors& w;
  };
  static constexpr int kNoWeightSlot = -1;
  Slot& slot_of(int slot) { return chunk_.slots[static_cast<std::size_t>(slot)]; }
  const StageExtent& extent() const { return chunk_.extent; }
  Block block_of(int slot, int weight_slot, std::int64_t index) const;
  const BlockTensors& gradients_of(const Block& block) const {
    return weights_.gradients.blocks[static_cast<std::size_t>(block.layer)];
  }
  Linear linear(const Block& block, LinearTensors BlockTensors::*part) const {
    return block_linear(weights_, static_cast<std::size_t>(block.layer), part);
  }
  /// While it lives a pass uses the weights of the bucket.
  class Using {
   public:
    Using(const Stage& stage, int bucket) : stage_(stage), bucket_(bucket) {
      if (stage_.acquire_) stage_.acquire_(bucket_);
    }
    ~Using() {
      if (stage_.release_) stage_.release_(bucket_);
    }
    Using(const Using&) = delete;
    Using& operator=(const Using&) = delete;

   private:
    const Stage& stage_;
    int bucket_;
  };
  Buckets buckets() const { return weights_.buckets(); }
  int lm_head_bucket() const {
    return architecture_.tied ? buckets().embedding() : buckets().head();
  }

  // stage.cpp
  enum class Pass { forward, backward };
  /// Does body(), as a CUDA graph where the context uses graphs and nothing in the block is a
  /// collective or depends on the host. A graph that is launched again leaves its results, and
  /// nothing on the host.
  template <class Body>
  void run_block(Pass pass, int slot, int weight_slot, const Block& block, bool first,
                 Body&& body) {
    if (comm_.tensor->size() > 1 || comm_.context != nullptr || a_.shape.recompute.any() ||
        has_experts(block))
      return body();
    const bool masked = block.slot.inputs.document_start.exists();
    const auto number = static_cast<std::uint64_t>((block.layer * std::ssize(chunk_.slots) + slot) *
                                                       (std::ssize(chunk_.deferred) + 1) +
                                                   weight_slot + 1);
    context_.replay(graph_keys_ +
                        ((number * 2 + (pass == Pass::forward ? 0 : 1)) * 2 + (first ? 1 : 0)) * 2 +
                        (masked ? 1 : 0),
                    body);
  }
  void backward_of_inputs(int slot, int weight_slot, const BackwardPass& pass);
  /// residual = x + delta, the branch that the stream has yet to add, or x where there is none;
  /// y = norm(residual).
  void residual_norm(device::ConstView x, device::ConstView delta, const NormTensors& weights,
                     device::View residual, device::View y, device::View statistics);
  /// Of a norm's output to a_.d_residual, which is the gradient of the residual stream: d_residual
  /// plus what comes through the norm.
  void norm_backward(device::ConstView dy, device::ConstView x, const NormTensors& weights,
                     device::ConstView statistics, device::ConstView d_residual,
                     const NormTensors& gradients);
  /// What the backward pass of a block needs and the forward pass did not keep; false: it is there.
  bool recompute_block(int slot, const Block& block);
  void clear_gradients_without_gemm();
  void between_blocks() const {
    if (between_blocks_) between_blocks_();
  }
  /// Rows of `all` (T, H) of this rank's tokens (T_loc, H).
  device::ConstView own_rows(device::ConstView all) const;
  /// `value` in memory where it stays: copied where `kept` has some.
  device::ConstView keep(device::View kept, device::ConstView value);
  /// The rank whose partial sums carry the biases of o_proj and down_proj.
  bool is_first_tensor_rank() const { return comm_.tensor->rank() == 0; }

  // embedding.cpp
  void embedding_forward(const Slot& slot);
  void embedding_backward(const Slot& slot);
  device::ConstView local_position_ids(const Slot& slot) const;  ///< (1, T_loc) i32

  // attention.cpp. Forward passes return the branch that the residual stream has yet to add.
  device::ConstView attention_forward(const Block& block);
  void attention_backward(const Block& block, bool first);
  void attention_weights_backward(const Block& block, bool first);
  void rotate(const Block& block);
  AttentionOperands attention_operands(const Block& block) const;

  // context_attention.cpp
  /// attend() for all heads of the rank, as many at a time as Activations::attention has; with a
  /// context group their keys and values of whole sequences are in ContextScratch then.
  void for_kv_heads(const AttentionOperands& operands,
                    const std::function<void(KvHeads heads)>& attend);
  void begin_gather_keys(const AttentionOperands& operands, KvHeads heads);
  void finish_gather_keys(const AttentionOperands& operands);
  /// Those of attention, to d_qkv: with a context group summed over it.
  void attention_gradients(const AttentionOperands& operands);
  void begin_sum_of_keys(const AttentionOperands& operands);
  void finish_sum_of_keys(const AttentionOperands& operands, KvHeads heads);
  device::View own_context_rows(device::View of_ranks) const;

  // mlp.cpp
  device::ConstView mlp_forward(const Block& block, device::ConstView branch);
  void mlp_backward(const Block& block, bool recomputes, bool first);
  void mlp_weights_backward(const Block& block, bool first);
  void gate_up_forward(const Block& block, parallel::Rows rows, device::ConstView n2);
  void mlp_norm(const Block& block, device::ConstView branch);

  // expert_blocks.cpp: in place of those of mlp.cpp where a block has experts.
  bool has_experts(const Block& block) const { return sizes_.is_sparse(block.layer); }
  Experts::Layer experts_of(const Block& block);
  device::ConstView experts_forward(const Block& block);
  /// `recomputed`: recompute_block made the block's results again.
  void experts_backward(const Block& block, bool recomputed, bool first);
  void experts_weights_backward(const Block& block, bool first);
  void begin_balance(int slot, const BackwardPass& pass);

  // head.cpp
  void head(const Slot& slot, bool with_gradients, float loss_scale, bool first);
  void head_statistics(device::ConstView targets, std::int64_t tokens);

  const Architecture& architecture_;
  LocalSizes sizes_;
  Weights& weights_;
  Activations& a_;
  ChunkActivations& chunk_;
  device::Context& context_;
  parallel::GridCommunicators& comm_;
  parallel::TensorBoundary boundary_;
  OfBucket acquire_, release_;
  std::function<void()> between_blocks_;
  std::unique_ptr<Experts> experts_;  ///< null: no block has some
  std::unique_ptr<ExpertBalance> expert_balance_;
  std::vector<std::vector<std::int64_t>> expert_counts_;  ///< by Block::place
  std::uint64_t graph_keys_;                              ///< those of this stage begin here
};

}  // namespace espalier::model
