#pragma once
#include <map>
#include <string>

#include "bench/job.hpp"
#include "device/profiler.hpp"

namespace espalier::bench {

/// What whole steps of a job took on this rank: medians over the steps.
struct StepSample {
  double seconds = 0.0;
  /// Of the operations of a step: what they cost, and the wall time of all their calls.
  device::OperationCosts costs;
  std::map<device::Operation, double> operation_seconds;
  std::array<double, device::kNumPhases> phase_seconds{};
};

/// Takes `warmup` steps of the model of resolved parameters on random tokens, and then `steps` that
/// are timed, operation by operation where `by_operation` (collective; on the host).
StepSample sample_step(parallel::MpiSession& session, const config::Parameters& parameters,
                       int warmup, int steps, bool by_operation);

}  // namespace espalier::bench
