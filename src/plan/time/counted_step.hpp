#pragma once
#include <cstdint>

#include "plan/step_counts.hpp"

namespace espalier::plan {

/// Counts of a step as a function of its blocks L and its micro-batches M:
///   once + L layer + M micro_batch + L M layer_micro_batch
/// which is exact: blocks do the same, and so do the micro-batches after the first, which differs
/// from them by what it adds to. Counting takes four small steps, whatever L and M are.
struct CountedStep {
  StepCounts once;               ///< the head's part of the update, norm and loss
  StepCounts layer;              ///< a block's part of the update
  StepCounts micro_batch;        ///< embedding and head
  StepCounts layer_micro_batch;  ///< a block, forward and backward
  StepCounts at(std::int64_t layers, std::int64_t micro_batches) const;
};

/// Of rank 0 of the grid that resolved parameters name. `data` = 1 may be given to parameters that
/// are not resolved for it: what is counted of a micro-batch does not depend on the batch.
CountedStep counted_step(const config::Parameters& parameters, device::Backend backend,
                         int compute_capability);

/// Micro-batches of a step on one rank.
std::int64_t num_micro_batches(const config::Parameters& parameters);

}  // namespace espalier::plan
