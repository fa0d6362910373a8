#include "bench/nonnegative_fit.hpp"

#include <algorithm>
#include <cmath>
#include <cstddef>

namespace espalier::bench {
namespace {

constexpr int kReweightings = 30;
constexpr int kSweeps = 2000;
constexpr double kSmallestError = 0.01;  ///< relative: below it errors count as squares

}  // namespace

std::vector<double> fit_nonnegative(const std::vector<FitPoint>& points) {
  if (points.empty()) return {};
  const std::size_t n = points.front().terms.size();
  // Columns of the relative problem, each scaled to a mean of 1: terms differ by 1e12.
  std::vector<double> scale(n, 0.0);
  for (const FitPoint& point : points)
    for (std::size_t j = 0; j < n; ++j)
      scale[j] += point.terms[j] / point.value / static_cast<double>(points.size());
  const auto column = [&](const FitPoint& point, std::size_t j) {
    return scale[j] > 0.0 ? point.terms[j] / point.value / scale[j] : 0.0;
  };
  std::vector<double> x(n, 0.0), weights(points.size(), 1.0);
  for (int turn = 0; turn < kReweightings; ++turn) {
    // Normal equations A x = b, then coordinate descent with x >= 0.
    std::vector<double> a(n * n, 0.0), b(n, 0.0);
    for (std::size_t i = 0; i < points.size(); ++i)
      for (std::size_t j = 0; j < n; ++j) {
        const double left = weights[i] * column(points[i], j);
        b[j] += left;
        for (std::size_t l = 0; l < n; ++l) a[j * n + l] += left * column(points[i], l);
      }
    for (int sweep = 0; sweep < kSweeps; ++sweep)
      for (std::size_t j = 0; j < n; ++j) {
        if (a[j * n + j] <= 0.0) continue;
        double rest = b[j];
        for (std::size_t l = 0; l < n; ++l)
          if (l != j) rest -= a[j * n + l] * x[l];
        x[j] = std::max(0.0, rest / a[j * n + j]);
      }
    for (std::size_t i = 0; i < points.size(); ++i) {
      double error = -1.0;
      for (std::size_t j = 0; j < n; ++j) error += x[j] * column(points[i], j);
      weights[i] = 1.0 / std::max(std::abs(error), kSmallestError);
    }
  }
  for (std::size_t j = 0; j < n; ++j) x[j] = scale[j] > 0.0 ? x[j] / scale[j] : 0.0;
  return x;
}

}  // namespace espalier::bench
