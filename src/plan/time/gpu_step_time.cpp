#include "base/error.hpp"
#include "plan/time/models.hpp"

namespace espalier::plan {

StepTime gpu_step_time(const StepCounts&, const config::Parameters&,
                       const config::HardwareParameters& hardware) {
  fail(ExitStatus::bad_configuration, "the time of a step on {} is not known", hardware.name);
}

}  // namespace espalier::plan
