#include "plan/time/step_time.hpp"

#include "base/error.hpp"
#include "plan/step_counts.hpp"
#include "plan/time/gpu_step_time.hpp"
#include "plan/time/host_step_time.hpp"

namespace espalier::plan {

double StepTime::step() const {
  return products + attention + memory_bound + tensor_exposed + data_exposed + bubble + other;
}

StepTime predict_step(const config::Parameters& p, const config::HardwareParameters& hardware) {
  const parallel::GridShape shape{.tensor = static_cast<int>(p.parallel.tensor),
                                  .context = static_cast<int>(p.parallel.context),
                                  .data = static_cast<int>(p.parallel.data),
                                  .pipeline = static_cast<int>(p.parallel.pipeline)};
  const bool is_gpu = hardware.kind == "gpu";
  const StepCounts counts =
      count_step(p, {shape, 0}, is_gpu ? device::Backend::cuda : device::Backend::host,
                 static_cast<int>(hardware.compute_capability));
  return is_gpu ? gpu_step_time(counts, p, hardware) : host_step_time(counts, p, hardware);
}

}  // namespace espalier::plan
