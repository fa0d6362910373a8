#pragma once
#include <vector>

#include "config/parameters.hpp"
#include "model/stage_assignment.hpp"
#include "plan/stage_counts.hpp"

namespace espalier::plan {

/// How a schedule makes a stage go backwards.
struct BackwardWay {
  bool is_divided = false;  ///< into gradients of inputs and of weights
  bool is_at_once = false;  ///< behind its forward pass, with no other between
  auto operator<=>(const BackwardWay&) const = default;
};

/// A stage of a rank, for a micro-batch that stands for most.
struct PlacedStage {
  StageKind kind;
  /// Of the micro-batch whose passes are timed (one whose backward pass is divided, where the
  /// schedule divides some), and of the second one, of which the sums of a step are made.
  BackwardWay timed, summed;
  auto operator<=>(const PlacedStage&) const = default;
};

/// What the ranks of a pipeline have, of resolved parameters.
struct PipelineLayout {
  model::StageAssignment assignment;
  std::vector<std::vector<PlacedStage>> ranks;  ///< by rank, by chunk

  static PipelineLayout of(const config::Parameters& parameters);
};

}  // namespace espalier::plan
