#pragma once
#include <cstdint>

#include "device/context.hpp"
#include "device/view.hpp"

namespace espalier::kernels {

/// Who computes attention on a GPU; on the host there is one. All keep the same contract.
enum class AttentionProvider : std::uint8_t {
  automatic,  ///< the fastest that fits
  reference,  ///< any shape and dtype, in fp32
  mma,        ///< mma.sync, every architecture since Ampere
  wgmma,      ///< Hopper's warpgroups
  cudnn,
};

/// Shape of one attention call: `batch` independent sequences, causal, grouped-query: query head h
/// reads kv head h / (A_loc / K_loc).
/// Query row i of a sequence has position first_query_position + i; kv row j has position j; it
/// attends to j <= its position. Training has S_q = S_kv and first_query_position = 0; decoding
/// with a cache and (later) context-parallel chunks use the offset.
struct AttentionShape {
  std::int64_t batch;                     ///< B
  std::int64_t query_length;              ///< S_q
  std::int64_t kv_length;                 ///< S_kv
  std::int64_t first_query_position = 0;  ///< first_query_position + S_q <= S_kv
  std::int64_t num_q_heads;               ///< A_loc
  std::int64_t num_kv_heads;              ///< K_loc, divides A_loc
  std::int64_t head_dim;                  ///< D
};

/// o = softmax(q k^T / sqrt(D), causal) v, blocked with online softmax (Dao et al. 2022, 2023):
/// never an S x S buffer. Softmax in fp32. Rows may be strided (views into packed projections or a
/// cache; sequence b starts at row b*S). Cost: 2 * B * A * S^2 * D FLOPs (causal counted half).
struct AttentionForward {
  AttentionShape shape;
  device::ConstView q;  ///< (B*S_q, A_loc*D)
  device::ConstView k;  ///< (B*S_kv, K_loc*D)
  device::ConstView v;  ///< (B*S_kv, K_loc*D)
  device::View o;       ///< (B*S_q, A_loc*D)
  device::View lse;     ///< (B*A_loc, S_q) f32, natural logarithm of the softmax's sum
  /// (1, B*S_q) i32, or absent: a query also attends to no key before this row of its
  /// sequence, the first token of its document. Never falls along a sequence, at most its position.
  device::ConstView document_start = {};
  AttentionProvider provider = AttentionProvider::automatic;
};
void attention_forward(device::Context& context, const AttentionForward& a);

/// Gradients with P recomputed from lse. Deterministic, unless something else is asked for: every
/// dk, dv, dq element has a fixed order of additions. Cost: 5 * B * A * S^2 * D FLOPs (causal
/// counted half), or 7 with dQ apart: on a GPU, but by warpgroups with head_dim 128 and the scratch
/// of backward_scratch_elements (attention_provider.hpp).
struct AttentionBackward {
  AttentionShape shape;  ///< query_length == kv_length, first_query_position == 0
  device::ConstView q, k, v, o;
  device::ConstView lse;                  ///< (B*A_loc, S) f32
  device::ConstView d_o;                  ///< (B*S, A_loc*D)
  device::View d_q;                       ///< (B*S, A_loc*D)
  device::View d_k;                       ///< (B*S, K_loc*D)
  device::View d_v;                       ///< (B*S, K_loc*D)
  device::View scratch;                   ///< f32, see attention_backward_scratch_elements
  device::ConstView document_start = {};  ///< as the forward's
  AttentionProvider provider = AttentionProvider::automatic;
  /// false allows cuDNN to add in any order, where it is faster or needs less memory. For
  /// comparisons of speed: no training asks for it.
  bool deterministic = true;
};
void attention_backward(device::Context& context, const AttentionBackward& a);

/// Elements of f32 scratch that attention_backward needs for `shape`, for any thread count: at
/// least B * A_loc * S for delta = rowsum(dO * O). The provider cudnn needs more, and wgmma is
/// faster with more (attention_provider.hpp).
std::int64_t attention_backward_scratch_elements(const AttentionShape& shape);

}  // namespace espalier::kernels
