#pragma once
#include <vector>

namespace espalier::bench {

/// A measured value and the terms that it is taken to be a sum of.
struct FitPoint {
  std::vector<double> terms;
  double value = 0.0;  ///< above 0
};

/// The coefficients c >= 0 with the least sum of |c . terms / value - 1| over the points: relative
/// errors, of which a few large ones, times that something else disturbed, do not count more than
/// they must. Least squares reweighted in turns, each by coordinate descent. Terms are 0 or above.
std::vector<double> fit_nonnegative(const std::vector<FitPoint>& points);

}  // namespace espalier::bench
