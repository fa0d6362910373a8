#include "plan/scaling/fit.hpp"

#include <algorithm>
#include <cmath>
#include <limits>
#include <utility>

#include "base/error.hpp"
#include "base/random.hpp"
#include "plan/scaling/minimize.hpp"

namespace espalier::plan {
namespace {

constexpr std::size_t kNumConstants = 5;
constexpr int kFirstIterations = 30;  // of every start; then the best ones go on
constexpr std::size_t kNumFollowed = 40;
constexpr int kIterations = 500;
constexpr int kMostRestarts = 50;
constexpr double kNothing = 1e-12;  // of the objective: the points lie on the law

/// What L-BFGS sees. Its variables are the logarithms of the two terms at the geometric means of N
/// and D, log e, alpha and beta: the same law, without the near dependence of log a on alpha that
/// makes it slow where N is far from 1.
class Problem {
 public:
  Problem(std::span<const FitPoint> points, double delta) : delta_(delta) {
    for (const FitPoint& point : points) {
      x_.push_back(std::log(point.parameters));
      y_.push_back(std::log(point.tokens));
      z_.push_back(std::log(point.loss));
    }
    mean_x_ = mean(x_);
    mean_y_ = mean(y_);
  }

  FiveNumbers variables_of(double log_a, double log_b, double log_e, double alpha,
                           double beta) const {
    return {log_a - alpha * mean_x_, log_b - beta * mean_y_, log_e, alpha, beta};
  }
  LossLaw law_of(const FiveNumbers& v) const {
    return {.e = std::exp(v[2]),
            .a = std::exp(v[0] + v[3] * mean_x_),
            .alpha = v[3],
            .b = std::exp(v[1] + v[4] * mean_y_),
            .beta = v[4]};
  }

  /// The sum of Huber losses over delta: of the order of one where residuals are of the order of
  /// 1 / n, whatever delta is. `weights`: how often each point counts; empty: once.
  double value(const FiveNumbers& v, FiveNumbers& gradient, std::span<const double> weights) const {
    gradient = {};
    double sum = 0.0;
    for (std::size_t i = 0; i < x_.size(); ++i) {
      const double weight = weights.empty() ? 1.0 : weights[i];
      if (weight == 0.0) continue;
      const double dx = x_[i] - mean_x_, dy = y_[i] - mean_y_;
      const double n = v[0] - v[3] * dx, d = v[1] - v[4] * dy, e = v[2];
      const double most = std::max({n, d, e});
      const double exp_n = std::exp(n - most), exp_d = std::exp(d - most);
      const double exp_e = std::exp(e - most), all = exp_n + exp_d + exp_e;
      const double residual = most + std::log(all) - z_[i];
      const double size = std::abs(residual);
      sum += weight * (size <= delta_ ? 0.5 * residual * residual / delta_ : size - 0.5 * delta_);
      const double slope = weight * std::clamp(residual / delta_, -1.0, 1.0) / all;
      gradient[0] += slope * exp_n;
      gradient[1] += slope * exp_d;
      gradient[2] += slope * exp_e;
      gradient[3] -= slope * exp_n * dx;
      gradient[4] -= slope * exp_d * dy;
    }
    return sum;
  }
  Objective objective(std::span<const double> weights) const {
    return [=, this](const FiveNumbers& v, FiveNumbers& gradient) {
      return value(v, gradient, weights);
    };
  }

 private:
  static double mean(const std::vector<double>& values) {
    double sum = 0.0;
    for (const double value : values) sum += value;
    return sum / static_cast<double>(values.size());
  }

  std::vector<double> x_, y_, z_;  ///< log N, log D, log loss
  double mean_x_, mean_y_, delta_;
};

/// With a small delta the objective is nearly one of absolute values, on whose kinks a line search
/// gives up early: L-BFGS begins anew there, as long as that helps.
Minimum to_the_end(const Objective& objective, Minimum minimum) {
  for (int restart = 0; restart < kMostRestarts; ++restart) {
    const double before = minimum.value;
    minimum = minimize(objective, minimum.x, kIterations);
    if (!(minimum.value < before * (1.0 - 1e-9)) || minimum.value < kNothing) break;
  }
  return minimum;
}

/// The grid of Hoffmann et al. 2022, appendix D.3.
std::vector<FiveNumbers> starts_of(const Problem& problem) {
  std::vector<FiveNumbers> starts;
  for (const double alpha : {0.0, 0.5, 1.0, 1.5, 2.0})
    for (const double beta : {0.0, 0.5, 1.0, 1.5, 2.0})
      for (const double log_e : {-1.0, -0.5, 0.0, 0.5, 1.0})
        for (const double log_a : {0.0, 5.0, 10.0, 15.0, 20.0, 25.0})
          for (const double log_b : {0.0, 5.0, 10.0, 15.0, 20.0, 25.0})
            starts.push_back(problem.variables_of(log_a, log_b, log_e, alpha, beta));
  return starts;
}

/// How many of the values differ by more than a hundredth: points that were read off a picture have
/// the same N with other digits.
std::size_t num_different(std::span<const FitPoint> points, double FitPoint::*member) {
  std::vector<double> values;
  for (const FitPoint& point : points) values.push_back(point.*member);
  std::sort(values.begin(), values.end());
  std::size_t count = 0;
  double last = 0.0;
  for (const double value : values)
    if (count == 0 || value > 1.01 * last) {
      ++count;
      last = value;
    }
  return count;
}

void require_enough(std::span<const FitPoint> points) {
  require(points.size() >= kNumConstants, ExitStatus::bad_data,
          "{} points cannot determine the five constants of e + a/N^alpha + b/D^beta: add runs, or "
          "rows of a CSV, of at least three numbers of parameters and of tokens",
          points.size());
  const auto require_three = [&](double FitPoint::*member, const char* letter, const char* what,
                                 const char* constants, const char* remedy) {
    const std::size_t count = num_different(points, member);
    require(count >= 3, ExitStatus::bad_data,
            "the {} points have {} of {} ({} {:.6g}{}): {} need three different ones; add runs {}",
            points.size(), count == 1 ? "one number" : "two numbers", what, letter,
            points.front().*member, count == 1 ? " in all of them" : " and one other", constants,
            remedy);
  };
  require_three(&FitPoint::parameters, "N =", "parameters", "e, a and alpha", "of other sizes");
  require_three(&FitPoint::tokens, "D =", "tokens", "e, b and beta", "of other lengths");
}

/// A law that does not fall is none that a plan can use.
void require_falling(const LossLaw& law, std::span<const FitPoint> points) {
  const FitPoint& first = points.front();
  double n = first.parameters, d = first.tokens, loss = first.loss;
  for (const FitPoint& point : points) {
    n = std::min(n, point.parameters);
    d = std::min(d, point.tokens);
    loss = std::min(loss, point.loss);
  }
  constexpr double kNoShare = 1e-6;  // of the loss
  const auto require_term = [&](double factor, double exponent, double at, const char* letter,
                                const char* what) {
    require(std::isfinite(factor) && exponent > 0.0 &&
                factor / std::pow(at, exponent) > kNoShare * loss,
            ExitStatus::bad_data,
            "the losses of these points do not fall with the number of {} ({} from {:.6g} on), as "
            "a law needs it: check that {} and loss belong together, and that every run was "
            "trained to the end of its schedule",
            what, letter, at, letter);
  };
  require_term(law.a, law.alpha, n, "N", "parameters");
  require_term(law.b, law.beta, d, "D", "tokens");
}

/// Points drawn with replacement, as how often each is there.
std::vector<double> draw_weights(const RandomStream& random, std::uint64_t& drawn, std::size_t n) {
  std::vector<double> weights(n, 0.0);
  for (std::size_t k = 0; k < n; ++k) {
    const double place = random.uniform(drawn++) * static_cast<double>(n);
    weights[std::min(n - 1, static_cast<std::size_t>(place))] += 1.0;
  }
  return weights;
}

bool determine_a_law(std::span<const FitPoint> points, std::span<const double> weights) {
  std::vector<FitPoint> there;
  for (std::size_t i = 0; i < points.size(); ++i)
    if (weights[i] > 0.0) there.push_back(points[i]);
  return there.size() >= kNumConstants && num_different(there, &FitPoint::parameters) >= 3 &&
         num_different(there, &FitPoint::tokens) >= 3;
}

std::vector<LossLaw> resample(std::span<const FitPoint> points, const Problem& problem,
                              const Minimum& best, const FitOptions& options) {
  std::vector<LossLaw> laws;
  if (points.size() <= kNumConstants) return laws;
  const RandomStream random(options.seed, "fit.bootstrap");
  std::uint64_t drawn = 0;
  // Of few points, some draws are too poor for a law; another is drawn in their place.
  const std::int64_t most_draws = 100 * options.resamples;
  for (std::int64_t draw = 0; draw < most_draws && std::ssize(laws) < options.resamples; ++draw) {
    const std::vector<double> weights = draw_weights(random, drawn, points.size());
    if (!determine_a_law(points, weights)) continue;
    const Objective objective = problem.objective(weights);
    FiveNumbers gradient{};
    const double at_start = objective(best.x, gradient);
    laws.push_back(problem.law_of(to_the_end(objective, {best.x, at_start}).x));
  }
  return laws;
}

/// The share `q` of sorted values lies below it; between two values on the line that joins them.
double quantile(const std::vector<double>& sorted, double q) {
  const double place = q * static_cast<double>(sorted.size() - 1);
  const auto below = static_cast<std::size_t>(place);
  const std::size_t above = std::min(below + 1, sorted.size() - 1);
  return sorted[below] + (place - static_cast<double>(below)) * (sorted[above] - sorted[below]);
}

Interval middle_of(std::vector<double> values, double confidence) {
  std::erase_if(values, [](double value) { return std::isnan(value); });
  if (values.empty()) {
    constexpr double kUnknown = std::numeric_limits<double>::quiet_NaN();
    return {kUnknown, kUnknown};
  }
  std::sort(values.begin(), values.end());
  return {quantile(values, 0.5 - 0.5 * confidence), quantile(values, 0.5 + 0.5 * confidence)};
}

}  // namespace

LawFit fit_law(std::span<const FitPoint> points, const FitOptions& options) {
  require_enough(points);
  const Problem problem(points, options.huber_delta);
  const Objective objective = problem.objective({});

  std::vector<Minimum> minima;
  for (const FiveNumbers& start : starts_of(problem))
    minima.push_back(minimize(objective, start, kFirstIterations));
  std::erase_if(minima, [](const Minimum& minimum) { return !std::isfinite(minimum.value); });
  const auto num_starts = std::ssize(minima);
  const auto lower = [](const Minimum& a, const Minimum& b) { return a.value < b.value; };
  std::stable_sort(minima.begin(), minima.end(), lower);
  minima.resize(std::min(minima.size(), kNumFollowed));
  for (Minimum& minimum : minima) minimum = to_the_end(objective, minimum);
  std::stable_sort(minima.begin(), minima.end(), lower);
  require(!minima.empty(), ExitStatus::bad_data,
          "no start of the fit came to a law: check the points for values that are far from all "
          "others");
  const Minimum& best = minima.front();

  LawFit fit{.law = problem.law_of(best.x),
             .objective = best.value * options.huber_delta,
             .residuals = {},
             .resampled = {},
             .num_starts = num_starts,
             .num_followed = std::ssize(minima),
             .num_at_best = std::count_if(
                 minima.begin(), minima.end(),
                 [&](const Minimum& m) { return m.value <= best.value * 1.001 + 1e-12; }),
             .options = options};
  require_falling(fit.law, points);
  for (const FitPoint& point : points)
    fit.residuals.push_back(std::log(point.loss) -
                            std::log(fit.law.loss(point.parameters, point.tokens)));
  fit.resampled = resample(points, problem, best, options);
  return fit;
}

Interval interval_of(const LawFit& fit, const std::function<double(const LossLaw&)>& quantity) {
  std::vector<double> values;
  for (const LossLaw& law : fit.resampled) values.push_back(quantity(law));
  return middle_of(std::move(values), fit.options.confidence);
}

Prediction predict(const LawFit& fit, double parameters, double tokens) {
  const auto loss = [&](const LossLaw& law) { return law.loss(parameters, tokens); };
  // Every resample with every residual: what could be measured, without drawing again.
  const std::size_t n = fit.residuals.size();
  std::vector<double> measured;
  if (n > kNumConstants) {
    const double widened =
        std::sqrt(static_cast<double>(n) / static_cast<double>(n - kNumConstants));
    for (const LossLaw& law : fit.resampled)
      for (const double residual : fit.residuals)
        measured.push_back(loss(law) * std::exp(widened * residual));
  }
  return {.loss = loss(fit.law),
          .law = interval_of(fit, loss),
          .run = middle_of(std::move(measured), fit.options.confidence)};
}

double Optimum::parameters(double flops) const {
  return g * std::pow(flops / 6.0, parameter_exponent);
}
double Optimum::tokens(double flops) const {
  return std::pow(flops / 6.0, token_exponent) / g;
}

Optimum optimum_of(const LossLaw& law) {
  const double sum = law.alpha + law.beta;
  return {.parameter_exponent = law.beta / sum,
          .token_exponent = law.alpha / sum,
          .g = std::pow(law.alpha * law.a / (law.beta * law.b), 1.0 / sum)};
}

}  // namespace espalier::plan
