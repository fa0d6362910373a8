#pragma once
#include <map>
#include <span>
#include <string>
#include <vector>

#include "config/parameters.hpp"
#include "device/profiler.hpp"
#include "parallel/comm/counting_communicator.hpp"
#include "plan/memory_plan.hpp"

namespace espalier::plan {

/// What one training step of one rank does: every operator and matrix product with its calls, FLOPs
/// and bytes of memory, and every collective with the group that it is given to.
struct StepCounts {
  device::OperationCosts operations;
  std::map<std::string, parallel::CollectiveCosts>
      collectives;  ///< by group: "tensor", "tensor (overlap)",
  /// gradient_group_name, "expert", "tied", "pipeline", "world"
  double flops() const;
  double bytes() const;             ///< of memory, each operand read or written once
  std::int64_t sent_bytes() const;  ///< to all groups
};

/// Takes the whole training step of resolved parameters (train/step/step.hpp) over planned buffers,
/// by the stage and the optimizer of a run, without computing: for any rank of any grid, on one
/// process, in no memory. The device is the one that is planned for, as of TrainingMemory::planned.
/// The second and later micro-batches differ from the first only in what they add to. Costs of
/// attention count whole sequences.
StepCounts count_step(const config::Parameters& parameters, const parallel::ProcessGrid& grid,
                      device::Backend backend = device::Backend::host, int compute_capability = 0);

/// sum += factor * counts.
void add(StepCounts& sum, const StepCounts& counts, std::int64_t factor);
/// counts - other.
StepCounts difference(const StepCounts& counts, const StepCounts& other);
/// Drops what nothing is done of. A term of a sum may have bytes and no calls: what the first
/// micro-batch does not add to.
void drop_empty(StepCounts& counts);

/// What a micro-batch makes a rank of a pipeline do for one of its stages. Where the schedule has a
/// whole backward, all of it is in `inputs`.
struct PassCounts {
  StepCounts forward, inputs, weights;
};
/// Counts of a step of one rank as a function of its micro-batches M: once + M micro_batch.
struct RankCounts {
  std::vector<PassCounts> chunks;
  StepCounts micro_batch;  ///< the passes of all chunks, and their messages
  StepCounts once;         ///< sums of gradients, update, norm and loss
  StepCounts at(std::int64_t micro_batches) const;
};
/// The same as count_step of a rank at a place of a pipeline, for which it takes a step of as few
/// micro-batches as the schedule allows. Messages between stages are the group "pipeline".
RankCounts count_rank(const config::Parameters& parameters, const parallel::ProcessGrid& grid,
                      device::Backend backend = device::Backend::host, int compute_capability = 0);

/// As few micro-batches as the schedule allows, a second one among them where there is one: the
/// first replaces what gradients hold.
std::int64_t few_micro_batches(const config::Parameters& parameters,
                               const parallel::GridShape& shape);
/// By chunk, the micro-batch of a rank that shows what its passes take: one whose backward pass is
/// divided where the schedule divides some, and, of several, not the first one, whose gradients
/// replace what is there.
std::vector<int> shown_micro_batches(std::span<const pipeline::Action> actions,
                                     const pipeline::Placement& placement);

/// A table of operations and collectives, largest first.
std::string describe(const StepCounts& counts);

}  // namespace espalier::plan
