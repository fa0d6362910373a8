#pragma once
#include "plan/time/step_time.hpp"

// The two models of a step's time. step_time.cpp chooses by hardware.kind.

namespace espalier::plan {

StepTime gpu_step_time(const StepCounts& counts, const config::Parameters& parameters,
                       const config::HardwareParameters& hardware);
StepTime host_step_time(const StepCounts& counts, const config::Parameters& parameters,
                        const config::HardwareParameters& hardware);

}  // namespace espalier::plan
