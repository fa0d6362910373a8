#pragma once
#include <array>
#include <cstdint>
#include <string_view>

namespace espalier::model {

/// What the backward pass of a block recomputes instead of finding it (memory.recompute). Every
/// mode has the same bits: what is recomputed comes from the same operators on the same operands.
///
/// Bytes of each buffer per token of a rank and per block, and what it costs to recompute it. w:
/// bytes of the dtype; all sizes the rank's own; with sequence parallelism the rows marked (s) hold
/// 1/tensor of the tokens. A buffer that is not kept exists once, for all blocks.
///
/// | buffer              | bytes            | kept up to | recomputed by                          |
/// |---------------------|------------------|------------|----------------------------------------|
/// | x (s)               | w H              | full       |                                        |
/// | n1, n2 (s)          | 2 w H            | none       | norms of x and x_mid                   |
/// | qk, with RoPE       | w (A + K) D      | none       | QK-norm and RoPE of qkv                |
/// | gate_up             | w 2 F            | selective  | a product of 4 H F FLOPs               |
/// | qkv                 | w (A + 2 K) D    | mlp        | a product of 2 H (A + 2 K) D FLOPs     |
/// | o, lse              | w A D + 4 A      | mlp        | attention                              |
/// | x_mid (s)           | w H              | mlp        | a product of 2 H A D FLOPs and its sum |
/// | norm statistics (s) | 8 norm_rows      | mlp        | with the norms                         |
///
/// `selective` repeats no matrix product and no message: it saves n1, n2 and qk for about one
/// passage over them. `mlp` saves the largest buffer for the product with the best ratio of bytes
/// to FLOPs, 1 byte per H FLOPs; its gathered input is needed by the backward pass anyhow. `full`
/// repeats a block's forward pass but the product and the sum that end it, whose result is the next
/// block's x; two collectives of the tensor group per block (three with sequence parallelism, of
/// which the backward pass needs one anyhow) are repeated. A block whose results nothing
/// has overwritten since, as those of the last, is not recomputed.
enum class Recompute : std::uint8_t { none, selective, mlp, full };
constexpr std::array<std::string_view, 4> kRecomputeNames{"none", "selective", "mlp", "full"};
constexpr std::size_t kNumRecomputeModes = kRecomputeNames.size();
/// "none", "selective", "mlp" or "full".
Recompute recompute_from_name(std::string_view name);

/// Numbers of blocks of a model by their mode.
using BlocksOfModes = std::array<std::int64_t, kNumRecomputeModes>;

/// The mode of every block of a model: the first blocks have the weakest mode, the last the
/// strongest. Of the blocks that recompute the last one is the first that the backward pass meets,
/// and finds what the forward pass has left: so the most expensive block is the one that is spared.
class RecomputeMix {
 public:
  RecomputeMix(Recompute of_all = Recompute::none);
  explicit RecomputeMix(const BlocksOfModes& blocks);
  /// Of a block of the model, counted from 0.
  Recompute of(std::int64_t layer) const;
  /// Whether some block recomputes anything.
  bool any() const { return first_[0] < kNoLayer; }
  bool operator==(const RecomputeMix&) const = default;

 private:
  static constexpr std::int64_t kNoLayer = INT64_MAX;
  /// The first layer whose mode is at least selective, mlp, full.
  std::array<std::int64_t, kNumRecomputeModes - 1> first_;
};

}  // namespace espalier::model
