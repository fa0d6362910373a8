#pragma once
#include <map>
#include <optional>
#include <tuple>
#include <vector>

#include "plan/memory_plan.hpp"
#include "plan/stage_counts.hpp"

// The memory of ranks of pipelines, put together from a few small plans, to the byte that of
// TrainingMemory::planned: a planner that compares thousands of layouts plans each block once.

namespace espalier::plan {

/// What a schedule makes a rank keep.
struct RankBuffers {
  int slots = 1, weight_slots = 0;
  int messages = 0;  ///< buffers of them, received, sent and handed on
};

/// The buffers of every rank of a pipeline, planned once for each schedule and shape.
class ScheduleBuffers {
 public:
  /// By rank. The shape must fit the schedule (pipeline::misfit_of).
  const std::vector<RankBuffers>& of(pipeline::ScheduleKind kind,
                                     const pipeline::PipelineShape& shape);

 private:
  std::map<std::tuple<pipeline::ScheduleKind, int, int, int>, std::vector<RankBuffers>> known_;
};

/// Activations and workspaces of parameters with has_blocks_alike, of a rank with these stages.
class ActivationBytes {
 public:
  ActivationBytes(const config::Parameters& parameters, device::Backend backend,
                  int compute_capability);
  /// Bytes.
  std::int64_t of(const std::vector<StageKind>& stages, const RankBuffers& buffers);

 private:
  std::int64_t planned(const StageKind& kind, int slots, int weight_slots, int messages) const;
  /// Of a slot, and of a weight slot.
  std::pair<std::int64_t, std::int64_t> slot_bytes(const StageKind& kind);

  device::Backend backend_;
  DType dtype_;
  model::ActivationShape shape_;
  std::optional<model::LocalSizes> sizes_;
  std::int64_t workspace_bytes_ = 0, message_bytes_ = 0;
  std::map<StageKind, std::pair<std::int64_t, std::int64_t>> slots_;
  std::map<bool, std::int64_t> rest_;  ///< by whether there is a block
};

/// Weights, gradients and optimizer state of parameters with has_blocks_alike, and on a host what a
/// save copies: of the rank that has most of those that hold so many blocks and these ends.
class StateBytes {
 public:
  StateBytes(const config::Parameters& parameters, device::Backend backend, int compute_capability);
  /// Bytes. `kind`: all blocks of the rank, and the ends of its stages.
  std::int64_t of(const StageKind& kind);

 private:
  /// Of a rank, without the square sums of its shards, whose number is not rounded to whole lines.
  struct Sum {
    std::int64_t bytes = 0, shards = 0;
    Sum plus(const Sum& other, std::int64_t times) const {
      return {bytes + times * other.bytes, shards + times * other.shards};
    }
  };
  /// What stands at one corner of a stage.
  struct Corner {
    Sum two, block, embedding, head, both;
  };
  Sum planned(const std::vector<std::int64_t>& stage_layers, int pipeline_rank, int corner) const;
  std::int64_t total(const Sum& sum) const;

  config::Parameters p_;
  device::Backend backend_;
  int compute_capability_;
  std::int64_t copies_ = 1;  ///< of the optimizer's state
  std::vector<Corner> corners_;
  std::map<StageKind, std::int64_t> known_;
};

}  // namespace espalier::plan
