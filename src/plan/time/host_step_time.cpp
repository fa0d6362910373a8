#include "base/error.hpp"
#include "plan/time/models.hpp"

namespace espalier::plan {

StepTime host_step_time(const StepCounts&, const config::Parameters&,
                        const config::HardwareParameters& hardware) {
  fail(ExitStatus::bad_configuration,
       "the time of a step on {} (hardware.kind = \"cpu\") is not known", hardware.name);
}

}  // namespace espalier::plan
