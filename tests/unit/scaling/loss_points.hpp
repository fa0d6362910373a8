#pragma once
#include <cmath>
#include <random>
#include <string>
#include <vector>

#include "plan/scaling/fit.hpp"

namespace espalier::testing {

/// Losses by a law over a grid of N and D, with normal noise of log loss.
inline std::vector<plan::FitPoint> points_by(const plan::LossLaw& law,
                                             const std::vector<double>& sizes,
                                             const std::vector<double>& tokens, double noise = 0.0,
                                             unsigned seed = 1) {
  std::mt19937 random(seed);
  // Sums of uniform numbers: std::normal_distribution differs between standard libraries.
  const auto normal = [&] {
    double sum = -6.0;
    for (int i = 0; i < 12; ++i) sum += static_cast<double>(random()) / 4294967296.0;
    return sum;
  };
  std::vector<plan::FitPoint> points;
  for (const double n : sizes)
    for (const double d : tokens)
      points.push_back({.name = std::to_string(points.size() + 1),
                        .parameters = n,
                        .tokens = d,
                        .loss = law.loss(n, d) * std::exp(noise == 0.0 ? 0.0 : noise * normal())});
  return points;
}

inline const std::vector<double> kSizes = {3e7, 1e8, 4e8, 3e9};
inline const std::vector<double> kTokens = {1e9, 6e9, 3e10};
inline const plan::LossLaw kChinchilla = {};
inline const plan::LossLaw kReplicated = {
    .e = 1.8172, .a = 482.01, .alpha = 0.3478, .b = 2085.43, .beta = 0.3658};
inline const plan::LossLaw kSteep = {.e = 0.9, .a = 30.0, .alpha = 0.2, .b = 3e4, .beta = 0.5};

}  // namespace espalier::testing
