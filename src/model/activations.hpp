#pragma once
#include <vector>

#include "device/arena.hpp"
#include "kernels/attention.hpp"
#include "kernels/qk_norm_rope.hpp"
#include "model/local_sizes.hpp"

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
  device::View lse;    ///< (B*A_loc, S) f32
  device::View x_mid;  ///< (T_loc, H) the residual stream before the MLP
  device::View norm2;  ///< (norm_rows, T_loc) f32 statistics of the norm before the MLP
  device::View n2;     ///< (T_loc, H) normed input of the MLP
  /// (T, 2 F_loc), or (T, F_loc) without a gate; the backward pass overwrites it with its gradient
  device::View gate_up;
};

struct ActivationShape {
  std::int64_t micro_batch_size;   ///< B
  std::int64_t sequence_length;    ///< S
  std::int64_t loss_chunk_tokens;  ///< Tc, at most T
  int tensor_size;
  bool splits_tokens;   ///< sequence parallelism with more than one tensor rank
  bool training;        ///< false: blocks share one set, no gradients
  bool on_gpu = false;  ///< the batch needs a copy there
  std::int64_t tokens() const { return micro_batch_size * sequence_length; }
  std::int64_t local_tokens() const { return splits_tokens ? tokens() / tensor_size : tokens(); }
};

/// Everything a micro-batch needs beside weights, laid out once in one arena.
struct Activations {
  Activations(const LocalSizes& sizes, const ActivationShape& shape, DType dtype,
              device::Arena& arena);

  ActivationShape shape;
  kernels::AttentionShape attention;     ///< of every block's attention, forward and backward
  std::vector<BlockActivations> blocks;  ///< L of them; one shared set when not training
  device::View x_final;                  ///< (T_loc, H) the residual stream after the last block
  device::View norm_final;               ///< (norm_rows, T_loc) f32
  device::View n_final;                  ///< (T_loc, H)
  kernels::RopeTable rope;               ///< (S, D/2) f32 each; no data without RoPE

  // The batch, on a GPU only; (1, T) each.
  device::View tokens, targets;  ///< u32
  device::View positions;        ///< i32
  device::View first_keys;       ///< i32

  // Scratch. Two gathered buffers exist only under sequence parallelism.
  device::View gathered_a, gathered_b;  ///< (T, H) all tokens of a split tensor
  device::View branch;             ///< (T, H) output of o_proj or down_proj; d of a norm's output
  device::View branch_local;       ///< (T_loc, H), under sequence parallelism
  device::View mlp_hidden;         ///< (T, F_loc) the activation's output, its gradient
  device::View d_residual;         ///< (T_loc, H) gradient of the residual stream
  device::View d_o;                ///< (T, A_loc*D)
  device::View d_qkv;              ///< (T, (A_loc + 2 K_loc) D)
  device::View attention_scratch;  ///< f32
  device::View logits;             ///< (Tc, V_loc)
  device::View statistics;         ///< (tensor*Tc, 3) f32
  device::View token_loss;         ///< (1, Tc) f32
  device::View log_sum_exp;        ///< (1, Tc) f32
  device::View loss_sum;           ///< (1, 1) f64, of the micro-batches since the sum was taken
  device::View token_order;        ///< (1, T) i32
};

}  // namespace espalier::model
