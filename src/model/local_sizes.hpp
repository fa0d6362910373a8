#pragma once
#include <algorithm>
#include <cstdint>
#include <vector>

#include "model/architecture.hpp"
#include "parallel/layout/grid.hpp"

namespace espalier::model {

/// Sizes as one rank sees them (letters and _loc names: base/dims.hpp).
struct LocalSizes {
  std::int64_t hidden;           ///< H
  std::int64_t head_dim;         ///< D
  std::int64_t num_heads;        ///< A_loc
  std::int64_t num_kv_heads;     ///< K_loc
  std::int64_t intermediate;     ///< F_loc; 0 where no block has a dense MLP
  std::int64_t vocab;            ///< V_loc, with the padding of the last ranks
  std::int64_t vocab_valid;      ///< rows of V_loc that exist
  std::int64_t vocab_first;      ///< global id of row 0
  std::int64_t num_layers;       ///< L
  std::int64_t kv_replication;   ///< tensor ranks that hold the same kv head
  std::int64_t mlp_inputs;       ///< matrices that feed the MLP: 2 (gate, up), or 1 without a gate
  std::int64_t norm_rows;        ///< statistics a norm keeps per token: norm_statistics_rows
  bool rotates;                  ///< q and k are rotated (RoPE) before attention
  std::int64_t num_positions;    ///< rows of the learned position table; 0: none
  std::int64_t num_experts = 0;  ///< E
  std::int64_t num_local_experts = 0;    ///< E_loc, those of this rank
  std::int64_t experts_per_token = 0;    ///< k
  std::int64_t expert_intermediate = 0;  ///< Fe
  std::vector<bool> sparse_layers = {};  ///< L of them: which blocks have experts

  static LocalSizes of(const Architecture& architecture, const parallel::ProcessGrid& grid);
  std::int64_t q_cols() const { return num_heads * head_dim; }
  std::int64_t kv_cols() const { return num_kv_heads * head_dim; }
  std::int64_t qk_cols() const { return q_cols() + kv_cols(); }
  std::int64_t qkv_cols() const { return q_cols() + 2 * kv_cols(); }
  std::int64_t gate_up_cols() const { return mlp_inputs * intermediate; }
  bool is_sparse(std::int64_t layer) const {
    return sparse_layers[static_cast<std::size_t>(layer)];
  }
  /// Blocks with experts, of the whole model.
  std::int64_t num_sparse_layers() const {
    return std::count(sparse_layers.begin(), sparse_layers.end(), true);
  }
  /// The number of a block with experts among them.
  std::int64_t sparse_index(std::int64_t layer) const {
    return std::count(sparse_layers.begin(), sparse_layers.begin() + layer, true);
  }
};

}  // namespace espalier::model
