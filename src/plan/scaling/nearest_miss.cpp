#include "plan/scaling/nearest_miss.hpp"

#include <algorithm>
#include <cmath>

#include "base/error.hpp"
#include "base/text.hpp"

namespace espalier::plan {
namespace {

/// `value` rounded up to `digits` significant digits.
double rounded_up(double value, int digits) {
  const double unit = std::pow(10.0, std::floor(std::log10(value)) - (digits - 1));
  return std::ceil(value / unit) * unit;
}

bool is_sized(const SearchSpace& space, const Shape& shape) {
  return !space.parameter_range || (shape.parameters >= space.parameter_range->first &&
                                    shape.parameters <= space.parameter_range->second);
}

/// How many numbers of tokens between the ends of the space's put one into any range of
/// `1 - tolerance` to `1 + tolerance` times `tokens`.
double tokens_count_for(const SearchSpace& space, double tokens) {
  const double first = space.tokens.front(), last = space.tokens.back();
  // Whether they are evenly spaced shows in the middle of three.
  const bool is_linear =
      space.tokens.size() < 3 ||
      std::abs(space.tokens[1] - first - (space.tokens[2] - space.tokens[1])) < 1e-6 * first;
  const double gaps = is_linear ? (last - first) / (2.0 * space.tolerance * tokens)
                                : std::log(last / first) /
                                      std::log((1.0 + space.tolerance) / (1.0 - space.tolerance));
  return std::ceil(gaps) + 1.0;
}

/// Shapes that would pass with any ratio of tokens to parameters.
std::int64_t num_passing_unfiltered(const SearchSpace& space) {
  std::int64_t count = 0;
  visit_shapes(space, [&](const Shape& shape) {
    if (is_sized(space, shape) && !tokens_in_budget(space, shape, {0, space.tokens.size()}).empty())
      ++count;
  });
  return count;
}

}  // namespace

NearestMiss nearest_miss(const SearchSpace& space) {
  std::optional<NearestMiss> best;
  visit_shapes(space, [&](const Shape& shape) {
    if (!is_sized(space, shape)) return;
    const TokenRange range = tokens_in_filter(space, shape);
    if (range.empty()) return;
    const auto begin = space.tokens.begin() + static_cast<std::ptrdiff_t>(range.first);
    const auto end = space.tokens.begin() + static_cast<std::ptrdiff_t>(range.last);
    const auto above = std::lower_bound(begin, end, space.budget / shape.flops_per_token);
    const auto look_at = [&](double tokens) {
      const double flops = shape.flops_per_token * tokens;
      const double share_off = flops / space.budget - 1.0;
      if (!best || std::abs(share_off) < std::abs(best->share_off))
        best = {.shape = shape, .tokens = tokens, .flops = flops, .share_off = share_off};
    };
    if (above != end) look_at(*above);
    if (above != begin) look_at(*std::prev(above));
  });
  require(best.has_value(), ExitStatus::bad_configuration, "the search has no pair that passes");
  return *best;
}

std::string why_nothing_passes(const SearchSpace& space) {
  const NearestMiss miss = nearest_miss(space);
  const double off = std::abs(miss.share_off);
  std::string text = fmt::format(
      "no pair of shape and tokens spends search.budget = {:.6g} FLOPs within search.tolerance = "
      "{}. The nearest spends {:.4g}, {}: L {}, H {}, A {} ({:.4g} parameters) with {:.4g} "
      "tokens. What would help:",
      space.budget, space.tolerance, miss.flops,
      off < 10.0 ? fmt::format("{:.3g} % {}", 100.0 * off, miss.share_off < 0.0 ? "less" : "more")
                 : fmt::format("{:.3g} times the budget", 1.0 + off),
      miss.shape.num_layers, miss.shape.hidden_size, miss.shape.num_heads, miss.shape.parameters,
      miss.tokens);
  if (off > 0.0 && rounded_up(off, 2) <= 1.0)
    text += fmt::format("\n  search.tolerance = {:g} takes this pair", rounded_up(off, 2));
  const double wanted = space.budget / miss.shape.flops_per_token;
  const bool is_above = wanted > space.tokens.back(), is_below = wanted < space.tokens.front();
  const double ratio = wanted / miss.shape.parameters / 20.0;
  const auto filter = space.chinchilla_range.value_or(std::pair(0.0, HUGE_VAL));
  if (is_above)
    text += fmt::format(
        "\n  search.tokens_max = {:.3g}: this shape spends the budget on {:.4g} tokens; or larger "
        "shapes (layers, hidden sizes)",
        rounded_up(wanted, 3), wanted);
  else if (is_below)
    text += fmt::format(
        "\n  search.tokens_min = {:.3g}: this shape spends the budget on {:.4g} tokens; or smaller "
        "shapes (layers, hidden sizes)",
        0.99 * wanted, wanted);
  else if (ratio < filter.first || ratio > filter.second)
    text += fmt::format(
        "\n  search.chinchilla_{}: this shape spends the budget on {:.4g} tokens, {:.3g} times 20 "
        "per parameter",
        ratio < filter.first ? "min" : "max", wanted, ratio);
  else if (const double count = tokens_count_for(space, wanted);
           count <= static_cast<double>(kMostTokenCounts))
    text += fmt::format(
        "\n  search.tokens_count = {:.0f}: numbers of tokens so close to each other that this "
        "shape, which spends the budget on {:.5g}, finds one",
        count, wanted);
  if (space.chinchilla_range)
    if (const std::int64_t count = num_passing_unfiltered(space); count > 0)
      text += fmt::format(
          "\n  without the filter search.chinchilla_min and chinchilla_max {} of the shapes "
          "{} a candidate",
          with_commas(count), count == 1 ? "is" : "are");
  return text;
}

}  // namespace espalier::plan
