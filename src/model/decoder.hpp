#pragma once
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "device/context.hpp"
#include "kernels/attention/attention.hpp"
#include "kernels/attention/qk_norm_rope.hpp"
#include "model/experts.hpp"
#include "model/weights.hpp"
#include "parallel/boundary.hpp"
#include "parallel/comm/session.hpp"

namespace espalier::model {

/// How experts are chosen in generation.
struct ExpertChoice {
  bool rounds_logits = false;        ///< ExpertOptions::rounds_logits
  std::span<const float> bias = {};  ///< (blocks with experts, E), or none
};

/// Decoding of one sequence with a cache of keys and values, over the tensor axis of the grid (no
/// sequence parallelism: there is one token at a time).
class Decoder {
 public:
  /// Lays out the cache for `max_tokens` in `arena` (planning or backed). Others must outlive it.
  /// Throws as require_positions does, and Error (bad_configuration) when the provider that is
  /// asked for cannot attend from one token to a cache. On the host there is no choice.
  Decoder(const Architecture& architecture, Weights& weights, DType dtype, std::int64_t max_tokens,
          device::Context& context, parallel::GridCommunicators& communicators,
          device::Arena& arena,
          kernels::AttentionProvider attention = kernels::AttentionProvider::automatic,
          const ExpertChoice& choice = {});

  Decoder(const Decoder&) = delete;
  Decoder& operator=(const Decoder&) = delete;

  /// Appends tokens to the sequence and returns the logits (V) fp32 that follow the last of them,
  /// the same on every rank. Collective over the tensor group. The sequence must not pass
  /// max_tokens.
  std::span<const float> append(std::span<const std::uint32_t> tokens);
  std::int64_t length() const { return length_; }  ///< tokens in the cache

 private:
  bool rotates_by_length() const;  ///< the table of RoPE depends on the sequence's length
  void append_chunk(std::span<const std::uint32_t> tokens);
  device::ConstView position_ids(std::int64_t count) const;  ///< (1, count) i32 of the chunk
  void attention(std::size_t layer, std::int64_t count);
  void mlp(std::size_t layer, std::int64_t count);
  void allocate_experts(const ExpertChoice& choice, device::Arena& arena);
  void experts(std::size_t layer, std::int64_t count);

  struct Cache {
    device::View k, v;  ///< (max_tokens, K_loc*D)
  };
  const Architecture& architecture_;
  LocalSizes sizes_;
  Weights& weights_;
  DType dtype_;
  device::Context& context_;
  parallel::GridCommunicators& comm_;
  parallel::TensorBoundary boundary_;
  std::int64_t max_tokens_, chunk_tokens_;
  kernels::AttentionProvider provider_;
  std::int64_t length_ = 0;
  std::vector<std::int32_t> position_buffer_;
  std::vector<float> host_logits_;   ///< (V) of the last append
  device::View tokens_, positions_;  ///< (1, chunk) u32 and i32, where the operators run
  std::vector<Cache> cache_;
  kernels::RopeTable rope_;        ///< (max_tokens, D/2) f32 each; no data without RoPE
  device::View x_, n_;             ///< (chunk, H) residual stream, normed
  device::View branch_;            ///< (chunk, H)
  device::View statistics_;        ///< (norm_rows, chunk) f32
  device::View qkv_;               ///< (chunk, (A_loc + 2 K_loc) D)
  device::View qk_;                ///< (chunk, (A_loc + K_loc) D); without RoPE columns of qkv_
  device::View o_;                 ///< (chunk, A_loc*D)
  device::View lse_;               ///< (A_loc, chunk) f32
  device::View gate_up_, hidden_;  ///< (chunk, 2 F_loc) or (chunk, F_loc); (chunk, F_loc)
  // Of the blocks with experts, if there are some. Every rank of an expert group has the same
  // tokens and sends them all: each expert's work is done once for each rank, and no sum is needed.
  ExpertActivations routed_;
  ExpertScratch expert_scratch_;
  device::View expert_bias_;  ///< (blocks with experts, E) f32, or absent
  std::unique_ptr<Experts> experts_;
  std::vector<std::int64_t> expert_counts_;
  device::View logits_;        ///< (1, V_loc)
  device::View local_logits_;  ///< (1, V_loc) f32
  device::View all_logits_;    ///< (tensor, V_loc) f32
};

}  // namespace espalier::model
