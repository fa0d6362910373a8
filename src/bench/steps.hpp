#pragma once
#include <functional>
#include <vector>

#include "bench/job.hpp"

namespace espalier::bench {

/// Told of every step, also those that do not count: its number from 1, loss and seconds here.
using StepTold = std::function<void(std::int64_t step, double loss, double seconds)>;

/// Trains bench.warmup_steps and then bench.steps steps on random tokens, with everything a real
/// step does but reading text (collective). Returns the seconds of those that count, on this rank
/// and in order; their phases and costs are then in the profiler of the job's context.
std::vector<double> take_steps(parallel::MpiSession& session, BenchJob& job, const StepTold& told);

/// Of an odd number the middle one, of an even one the upper of the two. Not of none.
double median(std::vector<double> values);

}  // namespace espalier::bench
