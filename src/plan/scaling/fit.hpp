#pragma once
#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <vector>

#include "plan/scaling/search.hpp"

namespace espalier::plan {

/// A training that is over: N parameters, D tokens, and the loss it came to, in nats per token.
struct FitPoint {
  std::string name;
  double parameters, tokens, loss;
};

struct FitOptions {
  double huber_delta = 1e-3;
  std::int64_t resamples = 200;  ///< of the bootstrap; 0: no intervals
  std::uint64_t seed = 1;
  double confidence = 0.9;  ///< of intervals
};

struct LawFit {
  LossLaw law;
  double objective;               ///< the sum of Huber losses of the points
  std::vector<double> residuals;  ///< log measured - log fitted, point by point
  /// The law of each resample of the bootstrap (Efron & Tibshirani 1993, chapter 13): as many
  /// points, drawn with replacement. None where there are only five points, which the law goes
  /// through.
  std::vector<LossLaw> resampled;
  std::int64_t num_starts;    ///< of L-BFGS
  std::int64_t num_followed;  ///< of those, the best, to their end
  std::int64_t num_at_best;   ///< of those, at the same minimum
  FitOptions options;
};

/// L(N, D) = e + a / N^alpha + b / D^beta fitted as Hoffmann et al. 2022 (arXiv:2203.15556,
/// appendix D.3): the sum over points of Huber(log L(N, D) - log loss), with log L as a log-sum-exp
/// of (log a - alpha log N, log b - beta log D, log e), minimised by L-BFGS from their grid of
/// 4,500 starts. Deterministic: `options.seed` decides what the bootstrap draws. Throws Error
/// (bad_data), which says what is missing, where the points cannot determine the five constants:
/// fewer than five, fewer than three different N or D, or losses that do not fall with N or with D.
LawFit fit_law(std::span<const FitPoint> points, const FitOptions& options);

struct Interval {
  double low, high;
};
/// Of a quantity that follows from the law: the middle `confidence` of the resamples. NaN without
/// any.
Interval interval_of(const LawFit& fit, const std::function<double(const LossLaw&)>& quantity);

struct Prediction {
  double loss;
  Interval law;  ///< of the law's value
  Interval run;  ///< of a run that would be measured: the law's, and the scatter of the points
};
Prediction predict(const LawFit& fit, double parameters, double tokens);

/// What C = 6 N D is best divided into (Hoffmann et al. 2022, equation 4):
/// N = g (C / 6)^parameter_exponent, D = (C / 6)^token_exponent / g.
struct Optimum {
  double parameter_exponent;  ///< beta / (alpha + beta)
  double token_exponent;      ///< alpha / (alpha + beta)
  double g;                   ///< (alpha a / (beta b))^(1 / (alpha + beta))
  double parameters(double flops) const;
  double tokens(double flops) const;
};
Optimum optimum_of(const LossLaw& law);

}  // namespace espalier::plan
