#pragma once
#include <map>

#include "plan/estimate/estimate.hpp"
#include "plan/memory_fit.hpp"

namespace espalier::plan {

/// The memory of many layouts of one run. It is that of TrainingMemory::planned, of which weights,
/// gradients and optimizer state do not depend on micro-batch and recomputation, and the
/// activations not on the data ranks: each is planned once, for those ranks of a pipeline that may
/// need most (largest_of_each_kind).
class LayoutMemory {
 public:
  /// `hardware` must outlive it.
  explicit LayoutMemory(const config::HardwareParameters& hardware) : hardware_(hardware) {}
  /// An estimate without times. Of one run: calls differ in nothing but what a layout decides.
  Estimate of(const config::Parameters& parameters);

 private:
  /// Weights, gradients and optimizer state of the rank of a stage that has most.
  std::int64_t state_bytes(const config::Parameters& parameters, int pipeline_rank);
  /// Activations and workspaces, the same on every rank of a stage.
  std::int64_t activation_bytes(const config::Parameters& parameters, int pipeline_rank);

  const config::HardwareParameters& hardware_;
  std::map<std::string, std::int64_t> states_, activations_;  ///< by what they depend on
};

/// The memory of a device of that kind.
Room room_on(const config::HardwareParameters& hardware);
/// The run with the mix that memory.recompute = "budget" chooses for that device; else unchanged.
config::Parameters chosen_for(const config::Parameters& parameters,
                              const config::HardwareParameters& hardware);

/// Everything of an estimate that is not memory.
void add_times(Estimate& estimate, const config::Parameters& parameters,
               const config::HardwareParameters& hardware);

}  // namespace espalier::plan
