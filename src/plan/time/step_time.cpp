#include "plan/time/step_time.hpp"

#include "base/error.hpp"
#include "config/experts.hpp"
#include "config/grid.hpp"
#include "plan/time/counted_step.hpp"
#include "plan/time/models.hpp"
#include "plan/time/pipeline_time.hpp"

namespace espalier::plan {

double StepTime::step() const {
  return products + attention + memory_bound + tensor_exposed + context_exposed + expert_exposed +
         data_exposed + bubble + other;
}

StepCounts count_step_for(const config::Parameters& parameters,
                          const config::HardwareParameters& hardware) {
  const bool gpu = hardware.kind == "gpu";
  const device::Backend backend = gpu ? device::Backend::cuda : device::Backend::host;
  const int capability = gpu ? static_cast<int>(hardware.compute_capability) : 0;
  // Blocks that are chosen one by one are not alike, nor are dense ones and those with experts.
  const std::int64_t sparse = config::num_sparse_blocks(parameters.model);
  const bool alike = parameters.memory.recompute != "budget" &&
                     (sparse == 0 || sparse == parameters.model.num_hidden_layers);
  if (alike && parameters.parallel.pipeline == 1 && parameters.model.num_hidden_layers > 3)
    return counted_step(parameters, backend, capability)
        .at(parameters.model.num_hidden_layers, num_micro_batches(parameters));
  return count_step(parameters, {config::grid_shape(parameters), 0}, backend, capability);
}

StepTime time_of(const StepCounts& counts, const config::Parameters& parameters,
                 const config::HardwareParameters& hardware) {
  return hardware.kind == "gpu" ? gpu_step_time(counts, parameters, hardware)
                                : host_step_time(counts, parameters, hardware);
}

StepTime predict_step(const config::Parameters& parameters,
                      const config::HardwareParameters& hardware) {
  if (parameters.parallel.pipeline > 1) return pipeline_time(parameters, hardware).step;
  return time_of(count_step_for(parameters, hardware), parameters, hardware);
}

}  // namespace espalier::plan
