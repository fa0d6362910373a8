#include "plan/scaling/search_chart.hpp"

#include <fmt/core.h>

#include <algorithm>
#include <array>
#include <cmath>

namespace espalier::plan {
namespace {

constexpr std::int64_t kPoints = 48;  ///< of the contours' grid, each way

struct Extent {
  double low = HUGE_VAL, high = 0.0;
  void add(double value) {
    low = std::min(low, value);
    high = std::max(high, value);
  }
};

/// Of shapes of about the same N, the one that costs least a token: the most tokens that the budget
/// buys. N is divided into equal parts of its logarithm.
std::vector<report::Point> budget_curve(const SearchSpace& space, const Extent& parameters) {
  std::vector<report::Point> best(kPoints, report::Point{0.0, 0.0});
  const double length = std::log(parameters.high / parameters.low);
  visit_shapes(space, [&](const Shape& shape) {
    const double part =
        length > 0.0 ? std::log(shape.law_parameters / parameters.low) / length : 0.0;
    const auto index =
        std::clamp(static_cast<std::int64_t>(part * kPoints), std::int64_t{0}, kPoints - 1);
    report::Point& point = best[static_cast<std::size_t>(index)];
    const double tokens = space.budget / shape.flops_per_token;
    if (tokens > point.y) point = {.x = shape.law_parameters, .y = tokens};
  });
  std::erase_if(best, [](const report::Point& point) { return point.y == 0.0; });
  return best;
}

}  // namespace

report::XyChart loss_chart(const SearchSpace& space, const SearchResult& result,
                           std::size_t selected, const std::string& title) {
  Extent parameters, tokens;
  visit_shapes(space, [&](const Shape& shape) { parameters.add(shape.law_parameters); });
  // Of shapes of one size a little to its left and right.
  if (parameters.high < 1.1 * parameters.low) {
    parameters.low *= 0.8;
    parameters.high *= 1.25;
  }
  report::Series budget{.name = fmt::format("{:.4g} FLOPs, cheapest shape of N", space.budget),
                        .points = budget_curve(space, parameters)};
  for (const report::Point& point : budget.points) tokens.add(point.y);
  // The picture shows numbers of tokens that are searched, as far as the budget reaches.
  tokens.low = std::max(0.7 * tokens.low, std::min(space.tokens.front(), 0.7 * tokens.high));
  tokens.high = std::min(1.4 * tokens.high, std::max(space.tokens.back(), 1.4 * tokens.low));
  std::erase_if(budget.points, [&](const report::Point& point) {
    return point.y < tokens.low || point.y > tokens.high;
  });

  report::Series six_n{
      .name = fmt::format("6 N D = {:.4g} FLOPs", space.budget), .points = {}, .dashed = true};
  report::Contours contours{.xs = logarithmically_spaced(parameters.low, parameters.high, kPoints),
                            .ys = logarithmically_spaced(tokens.low, tokens.high, kPoints),
                            .values = {},
                            .levels = {}};
  for (const double n : contours.xs)
    if (const double d = space.budget / (6.0 * n); d >= tokens.low && d <= tokens.high)
      six_n.points.push_back({.x = n, .y = d});
  for (const double d : contours.ys)
    for (const double n : contours.xs) contours.values.push_back(space.law.loss(n, d));

  report::Series candidates{.name = "candidates", .points = {}, .joined = false, .marked = true};
  report::Series chosen{.name = "selected", .points = {}, .joined = false, .marked = true};
  for (std::size_t i = 0; i < result.candidates.size(); ++i) {
    const Candidate& c = result.candidates[i];
    if (i != selected) {
      candidates.points.push_back({.x = c.law_parameters, .y = c.tokens});
      continue;
    }
    chosen.points.push_back(
        {.x = c.law_parameters,
         .y = c.tokens,
         .label = fmt::format("{:.3f}: L {}, H {}, A {}", c.loss, c.architecture.num_layers,
                              c.architecture.hidden_size, c.architecture.num_heads)});
  }
  report::XyChart chart{
      .title = title,
      .x = {.title =
                space.law_counts_embedding ? "parameters, N" : "parameters without embeddings, N",
            .logarithmic = true},
      .y = {.title = "tokens, D", .logarithmic = true},
      .series = {std::move(budget), std::move(six_n), std::move(candidates), std::move(chosen)},
      .contours = std::move(contours)};
  std::erase_if(chart.series, [](const report::Series& series) { return series.points.empty(); });
  return chart;
}

}  // namespace espalier::plan
