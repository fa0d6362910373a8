#pragma once
#include "config/parameters.hpp"
#include "plan/step_counts.hpp"
#include "plan/time/step_time.hpp"

namespace espalier::plan {

/// Seconds that a counted step of resolved parameters takes on a rank of a host, whose file
/// `espalier bench --write` has made. Nothing travels beside the computation.
///   operations   hardware.operators of the input's dtype, term by term (host_operator.hpp). One
///                that is not there goes at copy_gbs; products and attention must be there
///   collectives  those of a group within the node: overhead_us and, for (n - 1) / n of the
///                tensors' bytes, gbs of "tensor communication", "gradient communication" and
///                "weight communication" (the phases of the profiler); over several nodes
///                collective_time.hpp
///   all of it    times step_factor
/// Throws Error (bad_configuration) where a rate is missing, or the input asks for another SIMD
/// level than was measured, and names it.
StepTime host_step_time(const StepCounts& counts, const config::Parameters& parameters,
                        const config::HardwareParameters& hardware);

}  // namespace espalier::plan
