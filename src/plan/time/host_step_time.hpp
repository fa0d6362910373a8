#pragma once
#include "config/parameters.hpp"
#include "plan/step_counts.hpp"
#include "plan/time/step_time.hpp"

namespace espalier::plan {

/// Seconds that a counted step of resolved parameters takes on the cores of a rank.
StepTime host_step_time(const StepCounts& counts, const config::Parameters& parameters,
                        const config::HardwareParameters& hardware);

}  // namespace espalier::plan
