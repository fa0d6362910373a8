#pragma once
#include <cstdint>
#include <string>
#include <vector>

#include "base/dtype.hpp"
#include "config/parameters.hpp"
#include "kernels/attention/qk_norm_rope.hpp"

namespace espalier::model {

/// The parts of which a decoder block is made. A family is a choice of parts (families.hpp); the
/// passes ask for the part, never for the family.
enum class Normalization : std::uint8_t {
  rms_norm,    ///< Zhang & Sennrich 2019
  layer_norm,  ///< Ba et al. 2016, with bias
};
enum class PositionEmbedding : std::uint8_t {
  rope,     ///< Su et al. 2021, half-split, in every attention
  learned,  ///< a table (max_positions, H) added to the token embedding
};
enum class Mlp : std::uint8_t {
  swiglu,  ///< down(silu(gate(x)) * up(x)), Shazeer 2020
  gelu,    ///< down(gelu_tanh(up(x))), Hendrycks & Gimpel 2016
};

/// Parts and global sizes of a decoder (letters: base/dims.hpp), fixed for a run.
struct Architecture {
  std::string model_type;  ///< Hugging Face's name of the family
  Normalization normalization = Normalization::rms_norm;
  PositionEmbedding position_embedding = PositionEmbedding::rope;
  Mlp mlp = Mlp::swiglu;
  bool qk_norm = false;      ///< RMSNorm on every query and key head
  bool biases = false;       ///< on every linear layer but the LM head
  bool has_experts = false;  ///< in place of the MLP of the blocks that is_sparse names

  std::int64_t vocab_size;    ///< V
  std::int64_t hidden_size;   ///< H
  std::int64_t intermediate;  ///< F, of dense blocks
  std::int64_t num_layers;    ///< L
  std::int64_t num_heads;     ///< A
  std::int64_t num_kv_heads;  ///< K
  std::int64_t head_dim;      ///< D
  bool tied;                  ///< embedding and LM head are one weight
  double rope_theta;
  kernels::RopeScaling rope_scaling = {};
  float norm_eps;
  double initializer_range;
  std::int64_t max_positions;

  // With experts; else 0.
  std::int64_t num_experts = 0;            ///< E
  std::int64_t num_experts_per_token = 0;  ///< k
  std::int64_t expert_intermediate = 0;    ///< Fe
  bool norm_topk_prob = false;             ///< a token's weights are divided by their sum
  std::int64_t decoder_sparse_step = 1;
  std::vector<std::int64_t> mlp_only_layers = {};

  /// Whether a block has experts: every decoder_sparse_step-th, save mlp_only_layers.
  bool is_sparse(std::int64_t layer) const;
  std::int64_t num_sparse_layers() const;
  /// From resolved parameters.
  static Architecture from(const config::ModelParameters& parameters);
  /// What the RoPE table is filled from.
  kernels::RopeFrequencies rope_frequencies() const;
  std::int64_t num_parameters() const;
  /// Those that a token meets: of the experts k of E. All of a dense model.
  std::int64_t num_active_parameters() const;
  /// Parameters outside embeddings (of tokens and positions) and LM head, norms included.
  std::int64_t num_parameters_without_embedding() const;
  std::int64_t num_active_parameters_without_embedding() const;
  /// The model table of the banner.
  std::string describe() const;
};

}  // namespace espalier::model
