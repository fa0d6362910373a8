#pragma once
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "device/arena.hpp"
#include "kernels/attention/attention.hpp"
#include "kernels/attention/qk_norm_rope.hpp"
#include "model/context_buffers.hpp"
#include "model/expert_buffers.hpp"
#include "model/local_sizes.hpp"
#include "model/message_buffers.hpp"
#include "model/recompute.hpp"
#include "model/stage_extent.hpp"

namespace espalier::model {

/// What the forward pass of one block leaves for the backward pass.
struct BlockActivations {
  device::View x;      ///< (T_loc, H) the residual stream before the block
  device::View norm1;  ///< (norm_rows, T_loc) f32 statistics of the norm before attention
  device::View n1;     ///< (T_loc, H) normed input of attention
  device::View qkv;    ///< (T, (A_loc + 2 K_loc) D)
  /// (T, (A_loc + K_loc) D) after QK-norm and RoPE; the q and k columns of qkv itself without RoPE
  device::View qk;
  device::View o;      ///< (T, A_loc*D)
  device::View lse;    ///< (B*A_loc, S_loc) f32; by KvHeads where not all are computed together
  device::View x_mid;  ///< (T_loc, H) the residual stream before the MLP
  device::View norm2;  ///< (norm_rows, T_loc) f32 statistics of the norm before the MLP
  device::View n2;     ///< (T_loc, H) normed input of the MLP
  /// (T, 2 F_loc), or (T, F_loc) without a gate; the backward pass overwrites it with its gradient
  device::View gate_up;       ///< absent of a block with experts
  ExpertActivations experts;  ///< absent of others
};

/// What the gradients of a block's matrices need when they are computed after those of its inputs
/// (model::Stage::backward_inputs). What is absent stays where the forward pass put it.
struct DeferredProducts {
  device::View attention_dy, mlp_dy;  ///< (T, H) gradients of the branches
  device::View mlp_hidden;            ///< (T, F_loc) the activation's output
  device::View d_qkv;                 ///< (T, (A_loc + 2 K_loc) D)
  device::View n1, n2;                ///< (T, H), with split tokens or recompute
  device::View gate_up;     ///< (T, 2 F_loc or F_loc) its gradient, with recompute mlp or full
  device::View o;           ///< (T, A_loc*D), with recompute full
  DeferredExperts experts;  ///< in place of mlp_dy, mlp_hidden, n2 and gate_up
};

/// What the model reads of a batch, where the operators run. The memory is that of a Slot.
struct Inputs {
  device::ConstView tokens;          ///< (1, T) u32
  device::ConstView targets;         ///< (1, T) u32, kernels::kIgnoredTarget where none counts
  device::ConstView position_ids;    ///< (1, T) i32
  device::ConstView document_start;  ///< (1, T) i32, or absent: attention over whole sequences
  ContextInputs context = {};        ///< of a context-parallel rank
};

/// The activations of one micro-batch of a stage between its forward and its backward pass.
struct Slot {
  std::vector<BlockActivations> blocks;  ///< of the stage; what is not kept is shared by all
  /// (T_loc, H) the residual stream after the last block; with a head, or without blocks
  device::View x_final;
  device::View norm_final;                    ///< (norm_rows, T_loc) f32; with a head
  device::View n_final;                       ///< (T_loc, H); with a head
  device::View tokens, targets;               ///< (1, T) u32
  device::View position_ids, document_start;  ///< (1, T) i32
  ContextInputs context;                      ///< of a context-parallel rank
  Inputs inputs;                              ///< of the batch that is loaded
  /// (T_loc, H) the residual stream before the first block
  const device::View& input() const { return blocks.empty() ? x_final : blocks.front().x; }
};

/// A stage of a rank: where it keeps what.
struct ChunkActivations {
  StageExtent extent;  ///< with the number of layers
  std::vector<Slot> slots;
  /// By weight slot, for each block.
  std::vector<std::vector<DeferredProducts>> deferred;
};

struct ActivationShape {
  std::int64_t micro_batch_size;   ///< B
  std::int64_t sequence_length;    ///< S
  std::int64_t loss_chunk_tokens;  ///< Tc, at most T; asked for as 0: usual_loss_chunk
  int tensor_size;
  int context_size = 1;
  std::int64_t kv_heads_at_a_time = 0;  ///< with a context group; 0: usual_kv_heads
  bool splits_tokens;                   ///< sequence parallelism with more than one tensor rank
  bool training;                        ///< false: blocks share one set, no gradients
  bool on_gpu = false;                  ///< the batch needs a copy there
  RecomputeMix recompute = {};
  kernels::AttentionProvider attention = kernels::AttentionProvider::automatic;
  int compute_capability = 0;  ///< of the GPU; 0: not known, or emulated
  bool documents = false;      ///< whether batches have document starts
  int num_slots = 1;           ///< micro-batches between their forward and backward pass
  ExpertOptions experts = {};
  /// Of these, those whose gradients of the blocks' matrices are computed later.
  int num_weight_slots = 0;
  /// The stages of the rank. Slots are for any of them, so each is as large as the stage that needs
  /// most.
  std::vector<StageExtent> chunks = {StageExtent{}};
  MessageCounts messages = {};                                                  ///< between stages
  std::int64_t local_length() const { return sequence_length / context_size; }  ///< S_loc
  std::int64_t tokens() const { return micro_batch_size * local_length(); }
  std::int64_t local_tokens() const { return splits_tokens ? tokens() / tensor_size : tokens(); }
};

/// Tokens whose logits (Tc, V_loc) exist at one time by default. After every
/// chunk the fp32 gradient of the LM head is read and written once more: with 1024 tokens that
/// takes a GPU a third of the time of the head's three products (8 V H bytes at 3.3 TB/s beside
/// 6 V H Tc FLOPs at 740 TFLOP/s, an H100), hence as many as 1.25 GiB of logits hold, in
/// steps of 1024. The host's caches prefer few.
std::int64_t usual_loss_chunk(const LocalSizes& sizes, DType dtype, bool on_gpu);

/// Parts of the arena of activations (device::Arena::begin_part), for people who plan.
inline constexpr std::string_view kKeptPart = "activations kept for backward";
inline constexpr std::string_view kSharedPart = "one set of those not kept";
inline constexpr std::string_view kLossPart = "logits and loss";
inline constexpr std::string_view kAttentionPart = "attention scratch";
inline constexpr std::string_view kContextPart = "keys and values of whole sequences";
inline constexpr std::string_view kExpertsPart = "experts' rows and weights";
inline constexpr std::string_view kScratchPart = "transient buffers";
inline constexpr std::string_view kMessagePart = "messages between stages";

/// What blocks of a mode take: `kept` each in every slot, `deferred` each in every weight slot, and
/// `shared` once if one of them is there; a stronger mode's shared buffers are those of a weaker
/// one and more.
struct BlockBytes {
  std::int64_t kept, deferred, shared;
};
/// Of a block of the model; what is shared is that of all blocks.
BlockBytes block_bytes(const LocalSizes& sizes, const ActivationShape& shape, DType dtype,
                       Recompute mode, std::int64_t layer);

/// The strongest mode with which the rows that were sent to the experts are kept: where they are
/// not sent to other ranks they are recomputed as easily as n2.
inline Recompute expert_rows_kept_up_to(const LocalSizes& sizes) {
  return sizes.num_local_experts < sizes.num_experts ? Recompute::selective : Recompute::none;
}
inline bool keeps_expert_rows(const LocalSizes& sizes, Recompute mode) {
  return mode <= expert_rows_kept_up_to(sizes);
}

/// Everything that the micro-batches of a rank's stages need beside weights, laid out once in one
/// arena.
struct Activations {
  Activations(const LocalSizes& sizes, const ActivationShape& shape, DType dtype,
              device::Arena& arena);

  /// Throws Error (bad_configuration) when the provider of attention that was asked for cannot do
  /// what will be asked of it on this GPU. The host has no providers.
  void require_attention(DType dtype) const;
  /// "attention: forward by wgmma, backward by wgmma", and what better providers would need; of a
  /// training on a GPU. Throws as require_attention.
  std::string describe_attention(DType dtype) const;

  ActivationShape shape;
  /// Of every block's attention, forward and backward; with a context group of one KvHeads.
  kernels::AttentionShape attention;
  std::vector<ChunkActivations> chunks;
  MessageBuffers messages;
  /// Whose results lie in the buffers that the blocks that recompute share.
  struct {
    int slot = -1;
    std::int64_t layer = -1;
  } shared_buffers;
  kernels::RopeTable rope;  ///< (S, D/2) f32 each; no data without RoPE

  // The copy of a batch, on a GPU only (kernels/embedding/batch_inputs.hpp).
  device::View samples;             ///< (B, S+1) u32
  device::View document_positions;  ///< (B, S+1) i32

  // Scratch. Two gathered buffers exist only under sequence parallelism.
  device::View gathered_a, gathered_b;  ///< (T, H) all tokens of a split tensor
  device::View branch;        ///< (T, H) output of o_proj or down_proj; d of a norm's output
  device::View branch_local;  ///< (T_loc, H), under sequence parallelism
  device::View mlp_hidden;    ///< (T, F_loc) the activation's output, its gradient
  ExpertScratch experts;      ///< of a stage that has some
  ContextScratch context;     ///< of a context-parallel rank
  /// (blocks with experts of the model, E) f32: added to probabilities for the choice alone; absent
  /// without (ExpertOptions::has_bias). It starts at zero and is changed by whoever trains.
  device::View expert_bias;
  device::View d_residual;         ///< (T_loc, H) gradient of the residual stream
  device::View d_o;                ///< (T, A_loc*D)
  device::View d_qkv;              ///< (T, (A_loc + 2 K_loc) D)
  device::View attention_scratch;  ///< f32
  device::View logits;             ///< (Tc, V_loc)
  device::View statistics;         ///< (tensor*Tc, 3) f32
  device::View own_statistics;     ///< (Tc, 3) f32; of one tensor rank, `statistics` itself
  device::View token_loss;         ///< (1, Tc) f32
  device::View log_sum_exp;        ///< (1, Tc) f32
  device::View loss_sum;           ///< (1, 1) f64, of the micro-batches since the sum was taken
  device::View token_order;        ///< (1, T) i32
};

}  // namespace espalier::model
