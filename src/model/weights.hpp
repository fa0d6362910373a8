#pragma once
#include <vector>

#include "device/arena.hpp"
#include "model/local_sizes.hpp"
#include "model/stage_assignment.hpp"
#include "model/tensor_table.hpp"
#include "parallel/zero.hpp"

namespace espalier::model {

/// A norm's tensors, (1, H) each; RMSNorm has no bias (absent).
struct NormTensors {
  device::View weight, bias;
};

/// A linear layer's tensors; absent without bias.
struct LinearTensors {
  device::View weight;  ///< (out, in)
  device::View bias;    ///< (1, out)
};

/// One set of per-block tensors as this rank holds them: the weights, or their gradients.
/// Q, K, V and gate, up lie fused; rows of the tensor table are views into them.
struct BlockTensors {
  NormTensors input_layernorm;
  LinearTensors qkv;            ///< ((A_loc + 2 K_loc) D, H): q rows, k rows, v rows
  device::View q_norm, k_norm;  ///< (1, D); absent without QK-norm
  LinearTensors o;              ///< (H, A_loc*D)
  NormTensors post_attention_layernorm;
  LinearTensors gate_up;  ///< (2 F_loc, H): gate rows, then up rows; without a gate (F_loc, H)
  LinearTensors down;     ///< (H, F_loc)
  // Of a block with experts, in place of gate_up and down; absent in others.
  device::View router;          ///< (E, H)
  device::View expert_gate_up;  ///< (E_loc*2 Fe, H): of each expert gate rows, then up rows
  device::View expert_down;     ///< (E_loc*H, Fe)
};

/// All tensors of a rank's stages, in one arena; absent what other ranks have. When the model is
/// tied, the weight lm_head is the embedding, and a rank with either has it. The gradients of the
/// two are apart where a rank has both, until the last micro-batch of a step adds them up.
struct ModelTensors {
  device::View embedding;           ///< (V_loc, H)
  device::View position_embedding;  ///< (max_positions, H); absent without learned ones
  NormTensors final_norm;
  device::View lm_head;              ///< (V_loc, H)
  std::vector<BlockTensors> blocks;  ///< L of them

  /// Where a row of the tensor table lies, without padding: (rows_loc, cols_loc), a vector (n, 1).
  device::View of(const parallel::TensorSpec& spec, const LocalSizes& sizes) const;
};

/// Lays out one set of tensors of a rank's stages in `arena`: weights, or gradients.
enum class TensorSet : std::uint8_t { weights, gradients };
ModelTensors allocate_tensors(const Architecture& architecture, const LocalSizes& sizes,
                              std::span<const StageExtent> stages, TensorSet set, DType dtype,
                              device::Arena& arena);

/// The buckets of a rank's weights: those of one are gathered together, and become final together
/// in the backward pass. A block has one, the embeddings, and final norm with the LM head that is
/// not tied.
struct Buckets {
  std::vector<StageExtent> stages;  ///< of the rank, by chunk

  int of_block(std::int64_t layer) const;
  int embedding() const;
  int head() const { return embedding() + 1; }
  bool has_embedding() const;
  bool has_head() const;
  int of(const parallel::TensorSpec& spec) const;
  /// In the order in which the forward pass first uses their weights.
  std::vector<int> forward_order() const;
};

/// Weights and gradients of a rank's stages, joined with the tensor table.
struct Weights {
  std::vector<parallel::TensorSpec> table;  ///< of the whole model
  ModelTensors weights;
  ModelTensors gradients;  ///< f32; no data when made without a gradient arena

  /// `grid` has the model's views. `gradient_arena` null: for evaluation and generation.
  /// `sequence_parallel`: of tensor_table. `assignment`: of the stages to the grid's pipeline
  /// ranks.
  Weights(const Architecture& architecture, const parallel::ProcessGrid& grid, DType dtype,
          device::Arena& weight_arena, device::Arena* gradient_arena, bool sequence_parallel,
          const StageAssignment& assignment);
  /// Of the whole model, on a grid without a pipeline.
  Weights(const Architecture& architecture, const parallel::ProcessGrid& grid, DType dtype,
          device::Arena& weight_arena, device::Arena* gradient_arena,
          bool sequence_parallel = false);
  Weights(const Weights&) = delete;
  Weights& operator=(const Weights&) = delete;

  /// The table's rows as this rank holds them, without padding; those of other stages are empty.
  /// Point into `table`.
  std::vector<parallel::LocalTensor> local_tensors() const;
  Buckets buckets() const { return {stages_}; }
  const LocalSizes& sizes() const { return sizes_; }

 private:
  LocalSizes sizes_;
  std::vector<StageExtent> stages_;  ///< of this rank, by chunk
  parallel::ProcessGrid grid_;
};

}  // namespace espalier::model
