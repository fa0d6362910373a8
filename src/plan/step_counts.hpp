#pragma once
#include <map>
#include <string>

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
  /// gradient_group_name, "world"
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

/// A table of operations and collectives, largest first.
std::string describe(const StepCounts& counts);

}  // namespace espalier::plan
