#pragma once
#include <cstdint>

#include "device/context.hpp"
#include "device/view.hpp"
#include "kernels/cost.hpp"

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
/// with a cache uses the offset. A context-parallel rank has blocks of each sequence's queries and
/// all of its keys: block_length, with the positions in AttentionForward::block_starts.
struct AttentionShape {
  std::int64_t batch;                     ///< B
  std::int64_t query_length;              ///< S_q
  std::int64_t kv_length;                 ///< S_kv
  std::int64_t first_query_position = 0;  ///< first_query_position + S_q <= S_kv
  std::int64_t num_q_heads;               ///< A_loc
  std::int64_t num_kv_heads;              ///< K_loc, divides A_loc
  std::int64_t head_dim;                  ///< D
  /// 0, or the queries of a sequence come in blocks of so many consecutive positions: divides S_q
  /// and S_kv; on a GPU a multiple of kGpuBlockLength. Then first_query_position is 0.
  std::int64_t block_length = 0;
};
/// What tiles of queries of every provider divide.
constexpr std::int64_t kGpuBlockLength = 128;

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
  /// (B, S_q / block_length) i32 with a block_length, else absent: the position of the first query
  /// of each block, a multiple of block_length, ascending along a sequence.
  device::ConstView block_starts = {};
  AttentionProvider provider = AttentionProvider::automatic;
};
void attention_forward(device::Context& context, const AttentionForward& a);

/// Gradients with P recomputed from lse. Deterministic, unless something else is asked for: every
/// dk, dv, dq element has a fixed order of additions. Cost: 5 * B * A * S^2 * D FLOPs (causal
/// counted half), or 7 with dQ apart: on a GPU, but by warpgroups with head_dim 128 and the scratch
/// of backward_scratch_elements (attention_provider.hpp).
struct AttentionBackward {
  /// query_length == kv_length, or a block_length; first_query_position == 0
  AttentionShape shape;
  device::ConstView q, k, v, o;
  device::ConstView lse;  ///< (B*A_loc, S_q) f32
  device::ConstView d_o;  ///< (B*S_q, A_loc*D)
  device::View d_q;       ///< (B*S_q, A_loc*D)
  /// (B*S_kv, K_loc*D) of these queries alone. With a block_length they are f32: sums over the
  /// context ranks are still to be taken.
  device::View d_k, d_v;
  device::View scratch;                   ///< f32, see attention_backward_scratch_elements
  device::ConstView document_start = {};  ///< as the forward's
  device::ConstView block_starts = {};    ///< as the forward's
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

/// (query, key) pairs of all heads: query i sees first_query_position + i + 1 keys; blocks of
/// queries see as many as they would if they lay evenly over the sequence. Documents let a query
/// see fewer, which is not counted: rates then compare with those of whole sequences.
inline double attention_pairs(const AttentionShape& s) {
  const auto queries = static_cast<double>(s.batch * s.num_q_heads * s.query_length);
  if (s.block_length > 0) return queries * (static_cast<double>(s.kv_length) + 1.0) / 2.0;
  return queries * (static_cast<double>(s.first_query_position) +
                    (static_cast<double>(s.query_length) + 1.0) / 2.0);
}
/// Bytes of a matrix of query heads or of kv heads; the view may be of a cache with more rows.
inline double bytes_of_queries(const AttentionShape& s, const device::ConstView& q) {
  return static_cast<double>(s.batch * s.query_length * s.num_q_heads * s.head_dim) *
         static_cast<double>(size_of(q.dtype));
}
inline double bytes_of_keys(const AttentionShape& s, const device::ConstView& k) {
  return static_cast<double>(s.batch * s.kv_length * s.num_kv_heads * s.head_dim) *
         static_cast<double>(size_of(k.dtype));
}

inline Cost cost_of(const AttentionForward& a) {
  return {.flops = 4.0 * attention_pairs(a.shape) * static_cast<double>(a.shape.head_dim),
          .bytes = 2.0 * bytes_of_queries(a.shape, a.q) + 2.0 * bytes_of_keys(a.shape, a.k) +
                   bytes_of(a.lse)};
}

inline Cost cost_of(const AttentionBackward& a) {
  return {.flops = 10.0 * attention_pairs(a.shape) * static_cast<double>(a.shape.head_dim),
          .bytes = 4.0 * bytes_of_queries(a.shape, a.q) + 2.0 * bytes_of_keys(a.shape, a.k) +
                   2.0 * bytes_of_keys(a.shape, a.d_k) + bytes_of(a.lse)};
}

}  // namespace espalier::kernels
