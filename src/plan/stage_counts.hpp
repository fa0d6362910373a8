#pragma once
#include <map>

#include "model/stage_extent.hpp"
#include "plan/step_counts.hpp"

// Counts of the stages of pipelines, put together from a few small ones: a planner that compares
// thousands of layouts counts each block once.

namespace espalier::plan {

/// What tells stages apart whose blocks are alike.
struct StageKind {
  std::int64_t num_layers = 0;
  bool has_embedding = false, has_head = false;
  auto operator<=>(const StageKind&) const = default;
  static StageKind of(const model::StageExtent& extent) {
    return {extent.num_layers, extent.has_embedding, extent.has_head};
  }
};

/// Whether all blocks do the same: memory.recompute is one mode, and all have experts or none has.
bool has_blocks_alike(const config::Parameters& parameters);

/// The passes of a stage for a micro-batch that is not the first of a step.
struct StageCounts {
  StepCounts forward;
  struct Backward {
    StepCounts whole;
    StepCounts inputs, weights;  ///< where it is divided
  };
  /// By whether it follows its forward pass with none between, and then finds what the last block
  /// has left (model::Recompute).
  Backward later, at_once;
  /// What the products of the first micro-batch take more, or less: they replace gradients.
  StepCounts of_first;
  const Backward& backward(bool is_at_once) const { return is_at_once ? at_once : later; }
};

/// Of parameters with has_blocks_alike and a pipeline: what their stages pass. It does not depend
/// on data ranks, schedule, or the number of stages: from two blocks on every further one adds the
/// same.
class CountedStages {
 public:
  CountedStages(const config::Parameters& parameters, device::Backend backend,
                int compute_capability);
  const StageCounts& of(const StageKind& kind);

 private:
  void count(const std::vector<std::int64_t>& stage_layers);
  const StageCounts& counted(const StageKind& kind);

  config::Parameters p_;
  device::Backend backend_;
  int compute_capability_;
  std::map<StageKind, StageCounts> counted_, known_;
};

/// What a rank of a pipeline does once in a step, beside its passes: sums of gradients, update,
/// norm, and what the first micro-batch spares by replacing gradients, but in products
/// (StageCounts::of_first). It does not depend on micro-batch, recomputation or schedule. The kind:
/// all blocks of the rank, and what stands at the ends of its stages. What is told of every tensor
/// of the model to all ranks is that of a small model: on GPUs it takes no longer for it.
class CountedUpdates {
 public:
  CountedUpdates(const config::Parameters& parameters, device::Backend backend,
                 int compute_capability);
  const StepCounts& of(const StageKind& kind);

 private:
  struct Update {
    StepCounts counts;
    std::int64_t shards = 0;  ///< that are updated
    Update plus(const Update& other, std::int64_t times) const;
  };
  Update count(const std::vector<std::int64_t>& stage_layers, bool is_v, int pipeline_rank) const;

  config::Parameters p_;
  device::Backend backend_;
  int compute_capability_;
  Update two_, block_, embedding_, head_;
  std::map<StageKind, StepCounts> known_;
};

}  // namespace espalier::plan
