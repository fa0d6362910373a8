#pragma once
#include <vector>

#include "bench/job.hpp"
#include "bench/roofline.hpp"

namespace espalier::bench {

/// Times every operator and product of one block, of the head and of the optimizer, forward and
/// backward, on this rank's shapes.
std::vector<Timed> time_operators(BenchJob& job);

}  // namespace espalier::bench
