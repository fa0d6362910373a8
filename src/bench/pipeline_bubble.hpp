#pragma once
#include "bench/job.hpp"
#include "parallel/schedule/simulation.hpp"

namespace espalier::bench {

/// How long the ranks of a pipeline wait in the passes of a step, from the first pass to the end of
/// the last rank's last one. Of the fastest step: others have what else the machine does in them.
struct PipelineBubble {
  double measured = 0.0;          ///< share of the ranks' time in which they do no pass
  double simulated = 0.0;         ///< of the schedule, with these durations
  pipeline::Durations durations;  ///< s, of every stage's passes as they were measured (means)
  double passes_s = 0.0;          ///< of the step
  double simulated_s = 0.0;
};

/// Of the steps that take_steps took, on a host with parallel.pipeline > 1. Collective.
PipelineBubble pipeline_bubble(parallel::MpiSession& session, const BenchJob& job);

}  // namespace espalier::bench
