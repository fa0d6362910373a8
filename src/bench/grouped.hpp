#pragma once
#include <string>

#include "bench/operator_timer.hpp"
#include "kernels/moe/grouped_shapes.hpp"

namespace espalier::bench {

/// Adds rows of alternatives, `name` and a comma before each: the problem by every kernel that the
/// context's GPU has, and as one dense product of as many FLOPs with the first group's weight,
/// which is what it would take at best. Not "reference", which takes a hundred times as long. The
/// rows of all groups together are `problem.left`'s; none on a host, where there is one way.
void time_grouped(OperatorTimer& timer, device::Context& context,
                  const kernels::GroupedProblem& problem, const std::string& name);

}  // namespace espalier::bench
