#include "plan/time/step_time.hpp"

#include "base/error.hpp"
#include "plan/time/models.hpp"

namespace espalier::plan {

double StepTime::step() const {
  return products + attention + memory_bound + tensor_exposed + data_exposed + bubble + other;
}

StepCounts count_step_for(const config::Parameters& parameters,
                          const config::HardwareParameters& hardware) {
  const parallel::GridShape shape{.tensor = static_cast<int>(parameters.parallel.tensor),
                                  .data = static_cast<int>(parameters.parallel.data)};
  const bool gpu = hardware.kind == "gpu";
  return count_step(parameters, {shape, 0}, gpu ? device::Backend::cuda : device::Backend::host,
                    gpu ? static_cast<int>(hardware.compute_capability) : 0);
}

StepTime time_of(const StepCounts& counts, const config::Parameters& parameters,
                 const config::HardwareParameters& hardware) {
  return hardware.kind == "gpu" ? gpu_step_time(counts, parameters, hardware)
                                : host_step_time(counts, parameters, hardware);
}

StepTime predict_step(const config::Parameters& parameters,
                      const config::HardwareParameters& hardware) {
  return time_of(count_step_for(parameters, hardware), parameters, hardware);
}

}  // namespace espalier::plan
