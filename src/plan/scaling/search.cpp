#include "plan/scaling/search.hpp"

#include <algorithm>
#include <array>
#include <cmath>

#include "base/error.hpp"
#include "plan/flops.hpp"

namespace espalier::plan {

namespace {
// In the order of FlopsConvention.
constexpr std::array<std::string_view, 4> kConventions = {"exact", "published", "6n", "marin"};
}  // namespace

FlopsConvention flops_convention_from_name(std::string_view name) {
  const auto found = std::find(kConventions.begin(), kConventions.end(), name);
  require(found != kConventions.end(), ExitStatus::bad_configuration,
          "\"{}\" is no way to count FLOPs: \"exact\", \"published\", \"6n\" or \"marin\"", name);
  return static_cast<FlopsConvention>(found - kConventions.begin());
}

std::string_view convention_name(FlopsConvention convention) {
  return kConventions[static_cast<std::size_t>(convention)];
}

double flops_per_token(const model::Architecture& a, std::int64_t sequence_length,
                       FlopsConvention convention) {
  const auto L = static_cast<double>(a.num_layers), H = static_cast<double>(a.hidden_size);
  const auto F = static_cast<double>(a.intermediate), A = static_cast<double>(a.num_heads);
  const auto K = static_cast<double>(a.num_kv_heads), D = static_cast<double>(a.head_dim);
  const auto V = static_cast<double>(a.vocab_size), S = static_cast<double>(sequence_length);
  switch (convention) {
    case FlopsConvention::exact:
      return flops_per_token(a, S).causal_attention;
    case FlopsConvention::published:
      return 3.0 * L * (2.0 * (2.0 * H * H + 2.0 * H * K * D) + 2.0 * A * S * H + 6.0 * H * F);
    case FlopsConvention::six_n:
      return 6.0 * static_cast<double>(a.num_parameters());
    case FlopsConvention::marin:
      return 3.0 * (L * (6.0 * H * F + 2.0 * H * (A * D + 2.0 * K * D) + 2.0 * H * H +
                         4.0 * S * A * D + 3.0 * S * A) +
                    2.0 * H * V);
  }
  fail(ExitStatus::internal, "an unknown way to count FLOPs");
}

double LossLaw::loss(double parameters, double tokens) const {
  return e + a / std::pow(parameters, alpha) + b / std::pow(tokens, beta);
}

std::span<const std::string_view> tie_rule_names() {
  static constexpr std::array<std::string_view, 5> kNames = {"loss", "parameters", "tokens",
                                                             "flops", "layers"};
  return kNames;
}

std::vector<double> evenly_spaced(double first, double last, std::int64_t count) {
  std::vector<double> numbers;
  for (std::int64_t i = 0; i < count; ++i)
    numbers.push_back(count == 1 ? first
                                 : first + (last - first) * static_cast<double>(i) /
                                               static_cast<double>(count - 1));
  return numbers;
}

std::vector<double> logarithmically_spaced(double first, double last, std::int64_t count) {
  std::vector<double> numbers = evenly_spaced(std::log(first), std::log(last), count);
  for (double& number : numbers) number = std::exp(number);
  // The ends as they were given, whatever the logarithm rounds to.
  if (count > 0) numbers.front() = first;
  if (count > 1) numbers.back() = last;
  return numbers;
}

namespace {

/// A quantity that every block adds the same to.
struct PerLayers {
  double base, per_layer;
  double at(std::int64_t layers) const { return base + per_layer * static_cast<double>(layers); }
};
/// From what it is with one and with two layers. Exact as long as the numbers are whole ones below
/// 2^53, which parameters and FLOPs per token are.
template <class Function>
PerLayers per_layers(model::Architecture shape, Function&& count) {
  shape.num_layers = 1;
  const double one = count(shape);
  shape.num_layers = 2;
  const double two = count(shape);
  return {.base = one - (two - one), .per_layer = two - one};
}

/// The shapes of one hidden size and head size.
struct Width {
  Shape shape;  ///< sizes alone
  PerLayers parameters, law_parameters, flops_per_token;
};

model::Architecture with_sizes(const SearchSpace& space, const Shape& shape) {
  model::Architecture a = space.base;
  a.num_layers = shape.num_layers;
  a.hidden_size = shape.hidden_size;
  a.intermediate = shape.intermediate;
  a.num_heads = shape.num_heads;
  a.num_kv_heads = shape.num_kv_heads;
  a.head_dim = shape.head_dim;
  return a;
}

Width width_of(const SearchSpace& space, const Shape& sizes) {
  Width width{.shape = sizes, .parameters = {}, .law_parameters = {}, .flops_per_token = {}};
  model::Architecture counted = with_sizes(space, sizes);
  counted.qk_norm = counted.qk_norm && space.count_qk_norm;
  const auto parameters = [](const model::Architecture& a) {
    return static_cast<double>(a.num_parameters());
  };
  const auto without_embedding = [](const model::Architecture& a) {
    return static_cast<double>(a.num_parameters_without_embedding());
  };
  width.parameters = per_layers(counted, parameters);
  width.law_parameters =
      space.law_counts_embedding ? width.parameters : per_layers(counted, without_embedding);
  width.flops_per_token = per_layers(counted, [&](const model::Architecture& a) {
    return flops_per_token(a, space.sequence_length, space.convention);
  });
  return width;
}

std::vector<Width> widths_of(const SearchSpace& space) {
  std::vector<Width> widths;
  for (const std::int64_t hidden : space.hidden_sizes)
    for (const std::int64_t head_dim : space.head_dims) {
      if (hidden % head_dim != 0) continue;
      const std::int64_t heads = hidden / head_dim;
      const std::int64_t kv_heads = space.base.num_kv_heads == 0 ? heads : space.base.num_kv_heads;
      if (heads % kv_heads != 0) continue;
      const auto multiple = static_cast<double>(space.intermediate_multiple);
      const double wanted = space.intermediate_ratio * static_cast<double>(hidden) / multiple;
      widths.push_back(width_of(
          space, {.num_layers = 0,
                  .hidden_size = hidden,
                  .intermediate = space.intermediate_multiple * std::max(std::llround(wanted), 1LL),
                  .num_heads = heads,
                  .num_kv_heads = kv_heads,
                  .head_dim = head_dim,
                  .parameters = 0.0,
                  .law_parameters = 0.0,
                  .flops_per_token = 0.0}));
    }
  return widths;
}

/// Of the tokens in [range), the first for which `is_below` no longer holds; it holds for a
/// beginning of them.
template <class Predicate>
std::size_t first_not(const SearchSpace& space, TokenRange range, Predicate&& is_below) {
  const auto begin = space.tokens.begin();
  const auto at = [&](std::size_t index) { return begin + static_cast<std::ptrdiff_t>(index); };
  return static_cast<std::size_t>(std::partition_point(at(range.first), at(range.last), is_below) -
                                  begin);
}

/// Candidates with the values that decide between them, smaller first.
double rank_of(const Candidate& candidate, TieRule rule, const SearchSpace& space) {
  switch (rule) {
    case TieRule::loss:
      return space.loss_resolution > 0.0 ? std::round(candidate.loss / space.loss_resolution)
                                         : candidate.loss;
    case TieRule::parameters:
      return candidate.parameters;
    case TieRule::tokens:
      return candidate.tokens;
    case TieRule::flops:
      return std::abs(candidate.flops - space.budget);
    case TieRule::layers:
      return static_cast<double>(candidate.architecture.num_layers);
  }
  fail(ExitStatus::internal, "an unknown tie rule");
}

}  // namespace

model::Architecture architecture_of(const SearchSpace& space, const Shape& shape) {
  return with_sizes(space, shape);
}

void visit_shapes(const SearchSpace& space, const std::function<void(const Shape&)>& visit) {
  const std::vector<Width> widths = widths_of(space);
  for (const std::int64_t layers : space.layers)
    for (const Width& width : widths) {
      Shape shape = width.shape;
      shape.num_layers = layers;
      shape.parameters = width.parameters.at(layers);
      shape.law_parameters = width.law_parameters.at(layers);
      shape.flops_per_token = width.flops_per_token.at(layers);
      visit(shape);
    }
}

// A product with a positive number, a quotient and a difference never fall while the tokens grow,
// not even rounded: what passes is a range, and its ends are found by bisection.
TokenRange tokens_in_filter(const SearchSpace& space, const Shape& shape) {
  TokenRange range{0, space.tokens.size()};
  if (!space.chinchilla_range) return range;
  const auto [low, high] = *space.chinchilla_range;
  range.first =
      first_not(space, range, [&](double t) { return t / shape.parameters / 20.0 < low; });
  range.last =
      first_not(space, range, [&](double t) { return t / shape.parameters / 20.0 <= high; });
  return range;
}

TokenRange tokens_in_budget(const SearchSpace& space, const Shape& shape, TokenRange range) {
  if (range.empty()) return range;
  const double most = space.tolerance * space.budget;
  const auto over = [&](double tokens) { return shape.flops_per_token * tokens - space.budget; };
  range.first = first_not(space, range, [&](double t) { return over(t) < -most; });
  range.last = first_not(space, range, [&](double t) { return over(t) <= most; });
  return range;
}

SearchResult search(const SearchSpace& space) {
  require(!space.tokens.empty(), ExitStatus::bad_configuration,
          "the search has no number of tokens");
  SearchResult result;
  // Of the tokens that a shape can be given, the most have the lowest loss, unless the law does not
  // know them.
  const bool more_is_better = space.law.b > 0.0 && space.law.beta > 0.0;
  visit_shapes(space, [&](const Shape& shape) {
    ++result.num_shapes;
    if (space.parameter_range && (shape.parameters < space.parameter_range->first ||
                                  shape.parameters > space.parameter_range->second))
      return;
    ++result.num_sized_shapes;
    result.num_pairs += std::ssize(space.tokens);
    const TokenRange in_filter = tokens_in_filter(space, shape);
    result.num_in_range += static_cast<std::int64_t>(in_filter.size());
    const TokenRange range = tokens_in_budget(space, shape, in_filter);
    if (range.empty()) return;
    const double tokens = space.tokens[more_is_better ? range.last - 1 : range.first];
    result.candidates.push_back({.architecture = with_sizes(space, shape),
                                 .parameters = shape.parameters,
                                 .law_parameters = shape.law_parameters,
                                 .tokens = tokens,
                                 .loss = space.law.loss(shape.law_parameters, tokens),
                                 .flops = shape.flops_per_token * tokens});
  });
  require(result.num_shapes > 0, ExitStatus::bad_configuration,
          "the search has no shape: no hidden size is a multiple of a head_dim by a multiple of "
          "the {} key and value heads",
          space.base.num_kv_heads);
  std::stable_sort(result.candidates.begin(), result.candidates.end(),
                   [&](const Candidate& a, const Candidate& b) {
                     for (const TieRule rule : space.ties) {
                       const double first = rank_of(a, rule, space);
                       const double second = rank_of(b, rule, space);
                       if (first != second) return first < second;
                     }
                     return false;
                   });
  return result;
}

}  // namespace espalier::plan
