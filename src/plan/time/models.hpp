#pragma once
#include "plan/time/step_time.hpp"

// The two models of a step's time. step_time.cpp chooses by hardware.kind.

namespace espalier::plan {

StepTime gpu_step_time(const StepCounts& counts, const config::Parameters& parameters,
                       const config::HardwareParameters& hardware);

/// Seconds that a counted step of resolved parameters takes on a rank of a host, whose device file
/// `espalier bench --write` has made. Nothing travels beside the computation.
///   operations   hardware.operators of the input's dtype, term by term (host_operator.hpp). One
///                that is not there goes at copy_gbs; products and attention must be there
///   collectives  of a group inside the node: overhead_us and, for (n - 1) / n of the tensors'
///                bytes, gbs of the operators "tensor communication", "gradient communication" and
///                "weight communication" (phases of the profiler), for rows that are sent to
///                experts those of "expert communication", and for keys and values of a context
///                group those of "context communication", or else of gradients; of several nodes
///                those of collective_time.hpp
///   other        step_factor times the operations, less these; sums of a few values
/// Throws Error (bad_configuration) where a rate is missing, or the input asks for another SIMD
/// level than was measured, and names it.
StepTime host_step_time(const StepCounts& counts, const config::Parameters& parameters,
                        const config::HardwareParameters& hardware);

}  // namespace espalier::plan
