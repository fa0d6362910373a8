#pragma once
#include <cstdint>
#include <string>
#include <vector>

#include "config/parameters.hpp"
#include "plan/step_counts.hpp"

namespace espalier::plan {

/// Seconds of a training step of the slowest rank, by what they go to. The exposed parts add up to
/// the step; what is hidden travels beside the computation.
struct StepTime {
  double products = 0.0;      ///< matrix products
  double attention = 0.0;     ///< forward and backward
  double memory_bound = 0.0;  ///< norms, RoPE, activations, loss, optimizer, ...
  double tensor_exposed = 0.0, tensor_hidden = 0.0;  ///< collectives of the tensor group
  /// Keys and values of whole sequences that context ranks gather, and sums of their gradients.
  double context_exposed = 0.0, context_hidden = 0.0;
  double expert_exposed = 0.0;                   ///< rows on their way to experts and back
  double data_exposed = 0.0, data_hidden = 0.0;  ///< of gradients and weights
  double bubble = 0.0;                           ///< of a pipeline: waiting for other stages
  double other = 0.0;                            ///< the all-reduce of norm and loss, overheads
  double step() const;                           ///< the sum of all but what is hidden
};

/// The time of one step of resolved parameters on devices of that kind: the counting run of the
/// real step (count_step) with a roofline per operator and alpha-beta collectives, and with a
/// pipeline the simulation of its schedule (pipeline_time.hpp). The models and their constants:
/// gpu_step_time.cpp, host_step_time.cpp. Throws Error (bad_configuration) where the hardware lacks
/// a figure that is needed, and names it.
StepTime predict_step(const config::Parameters& parameters,
                      const config::HardwareParameters& hardware);
/// Without a pipeline, the two halves of it: what does not depend on the hardware's rates, and what
/// it takes. The counts of rank 0 depend on the model, [training] without its length,
/// memory.recompute, [parallel], hardware.kind and hardware.compute_capability.
StepCounts count_step_for(const config::Parameters& parameters,
                          const config::HardwareParameters& hardware);
StepTime time_of(const StepCounts& counts, const config::Parameters& parameters,
                 const config::HardwareParameters& hardware);

/// The device that `name` means: a file with a [hardware] table, or a name ("b200") of a file in
/// inputs/devices of the working directory or beside the program. Throws Error (bad_configuration),
/// which lists the devices there are.
config::HardwareParameters read_hardware(const std::string& name);
/// All that plan.device names; the [hardware] of the input where it names none. Throws Error
/// (bad_configuration) where there is neither.
std::vector<config::HardwareParameters> hardware_of(const config::Parameters& parameters);

}  // namespace espalier::plan
