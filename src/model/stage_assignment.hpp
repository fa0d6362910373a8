#pragma once
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "config/parameters.hpp"
#include "model/architecture.hpp"
#include "model/stage_extent.hpp"
#include "parallel/layout/shard_map.hpp"
#include "parallel/schedule/schedule.hpp"

// Pure: which stage of a pipeline has which blocks, and which rank has which stage.

namespace espalier::model {

/// The stages of a model. p ranks of the pipeline have v chunks each: p v stages in the order of
/// the model. The first has the embeddings, the last final norm and LM head.
struct StageAssignment {
  pipeline::Placement placement;
  std::vector<StageExtent> stages;  ///< (p v)

  /// The stages of a rank of the pipeline, by chunk.
  std::vector<StageExtent> of_rank(int pipeline_rank) const;
  int rank_of_embedding() const { return placement.rank_of(0); }
  int rank_of_head() const { return placement.rank_of(placement.num_stages() - 1); }
  int rank_of_layer(std::int64_t layer) const;

  /// A line for each rank of the pipeline, of many the first and the last ones:
  ///
  ///       pipeline 0   embedding, blocks 0 to 4
  std::string picture() const;
};

/// Of resolved parameters: parallel.stage_layers, or else stage_layers_by_cost. One stage without a
/// pipeline.
StageAssignment assign_stages(const Architecture& architecture, const config::Parameters& p);

/// Of stages with so many blocks each.
StageAssignment assign_stages(const pipeline::Placement& placement,
                              std::span<const std::int64_t> stage_layers);

/// What a token costs, in FLOPs of a forward pass at a sequence length: of each block, and of the
/// LM head. The embedding is a look-up and counts nothing.
struct StageCosts {
  std::vector<double> blocks;  ///< (L)
  double head = 0.0;
};
StageCosts stage_costs(const Architecture& architecture, std::int64_t sequence_length);

/// How many consecutive blocks each stage has, so that the most expensive stage is as cheap as it
/// can be and, among those divisions, the stages are most alike (least sum of squares); among these
/// the earlier stages have fewer blocks, for they keep activations of more micro-batches. A stage
/// may be left without any.
std::vector<std::int64_t> stage_layers_by_cost(const StageCosts& costs, int num_stages);

/// Says in the rows of a whole tensor table which rank of the pipeline holds each
/// (TensorSpec::pipeline_rank, tied_pipeline_rank).
void place_on_stages(std::vector<parallel::TensorSpec>& table, const StageAssignment& assignment,
                     bool tied);

}  // namespace espalier::model
