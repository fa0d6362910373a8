#include "plan/time/host_step_time.hpp"

#include "base/error.hpp"

namespace espalier::plan {

StepTime host_step_time(const StepCounts&, const config::Parameters&,
                        const config::HardwareParameters& hardware) {
  throw Error(ExitStatus::bad_configuration,
              fmt::format("{}: the time of a step on a host is not known yet", hardware.name),
              Met::by_every_rank);
}

}  // namespace espalier::plan
