#pragma once
#include <cstdint>
#include <string>

#include "base/dtype.hpp"
#include "config/parameters.hpp"

namespace espalier::model {

/// Global sizes of a dense decoder (letters: base/dims.hpp), fixed for a run.
struct Architecture {
  std::int64_t vocab_size;    ///< V
  std::int64_t hidden_size;   ///< H
  std::int64_t intermediate;  ///< F
  std::int64_t num_layers;    ///< L
  std::int64_t num_heads;     ///< A
  std::int64_t num_kv_heads;  ///< K
  std::int64_t head_dim;      ///< D
  bool tied;                  ///< embedding and LM head are one weight
  bool qk_norm;
  double rope_theta;
  float norm_eps;
  double initializer_range;
  std::int64_t max_positions;

  /// From resolved parameters.
  static Architecture from(const config::ModelParameters& parameters);
  std::int64_t num_parameters() const;
  /// Parameters outside embedding and LM head, norms included.
  std::int64_t num_parameters_without_embedding() const;
  /// The model table of the banner.
  std::string describe() const;
};

}  // namespace espalier::model
