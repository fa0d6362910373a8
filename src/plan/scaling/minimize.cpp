#include "plan/scaling/minimize.hpp"

#include <lbfgs.h>

#include <algorithm>
#include <cmath>

namespace espalier::plan {
namespace {

// A libLBFGS that was built for SSE wants a multiple of eight variables at an aligned address; the
// last three do nothing.
constexpr int kNumVariables = 8;

struct Search {
  const Objective& objective;
  Minimum best;
};

lbfgsfloatval_t evaluate(void* instance, const lbfgsfloatval_t* x, lbfgsfloatval_t* gradient, int n,
                         lbfgsfloatval_t) {
  auto& search = *static_cast<Search*>(instance);
  FiveNumbers at, slope{};
  std::copy_n(x, at.size(), at.begin());
  const double value = search.objective(at, slope);
  std::fill_n(gradient, n, 0.0);
  std::copy(slope.begin(), slope.end(), gradient);
  if (std::isfinite(value) && value < search.best.value) search.best = {at, value};
  return value;
}

}  // namespace

Minimum minimize(const Objective& objective, const FiveNumbers& start, int iterations) {
  FiveNumbers gradient{};
  Search search{.objective = objective, .best = {start, objective(start, gradient)}};
  alignas(16) std::array<lbfgsfloatval_t, kNumVariables> x{};
  std::copy(start.begin(), start.end(), x.begin());
  lbfgs_parameter_t parameters;
  lbfgs_parameter_init(&parameters);
  parameters.m = 10;
  parameters.epsilon = 1e-10;
  parameters.max_iterations = iterations;
  // The status says why it ended. Whatever it is, the best point seen is the result.
  lbfgs(kNumVariables, x.data(), nullptr, evaluate, nullptr, &search, &parameters);
  return search.best;
}

}  // namespace espalier::plan
