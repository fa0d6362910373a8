#pragma once
#include <array>
#include <functional>

namespace espalier::plan {

/// The five constants of a loss law, or a gradient in them.
using FiveNumbers = std::array<double, 5>;
/// The value at x, and its gradient there.
using Objective = std::function<double(const FiveNumbers& x, FiveNumbers& gradient)>;

struct Minimum {
  FiveNumbers x;
  double value;
};
/// L-BFGS (Liu & Nocedal 1989, by libLBFGS) from `start`, at most `iterations` of it. Where the
/// line search finds nothing lower, as at a kink, the best point so far is the answer; it is never
/// worse than the start.
Minimum minimize(const Objective& objective, const FiveNumbers& start, int iterations);

}  // namespace espalier::plan
