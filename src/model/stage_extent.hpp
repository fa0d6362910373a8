#pragma once
#include <cstdint>

#include "base/error.hpp"

namespace espalier::model {

/// Which consecutive blocks a stage has, and what stands at its ends.
struct StageExtent {
  std::int64_t first = 0;        ///< its first block, of the model
  std::int64_t num_layers = -1;  ///< 0: what stands at its ends, or nothing; -1: all of the model
  bool has_embedding = true, has_head = true;
  friend bool operator==(const StageExtent&, const StageExtent&) = default;

  bool has_layer(std::int64_t layer) const { return first <= layer && layer < first + num_layers; }
  /// With its number of blocks, of a model with so many. Error (internal) where there are fewer.
  StageExtent of(std::int64_t model_layers) const {
    StageExtent resolved = *this;
    if (num_layers < 0) resolved.num_layers = model_layers;
    ESPALIER_ASSERT(
        first >= 0 && resolved.num_layers >= 0 && first + resolved.num_layers <= model_layers,
        "a stage of {} blocks from {} on, of {}", resolved.num_layers, first, model_layers);
    return resolved;
  }
};

}  // namespace espalier::model
