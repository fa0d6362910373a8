#include "plan/scaling/search.hpp"

#include <algorithm>
#include <cmath>

#include "base/error.hpp"
#include "plan/flops.hpp"

namespace espalier::plan {

FlopsConvention flops_convention_from_name(std::string_view name) {
  if (name == "exact") return FlopsConvention::exact;
  if (name == "published") return FlopsConvention::published;
  if (name == "6n") return FlopsConvention::six_n;
  require(name == "marin", ExitStatus::bad_configuration,
          "\"{}\" is no way to count FLOPs: \"exact\", \"published\", \"6n\" or \"marin\"", name);
  return FlopsConvention::marin;
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

std::vector<double> evenly_spaced(double first, double last, std::int64_t count) {
  std::vector<double> numbers;
  for (std::int64_t i = 0; i < count; ++i)
    numbers.push_back(count == 1 ? first
                                 : first + (last - first) * static_cast<double>(i) /
                                               static_cast<double>(count - 1));
  return numbers;
}

namespace {

std::vector<model::Architecture> shapes_of(const SearchSpace& space) {
  std::vector<model::Architecture> shapes;
  for (const std::int64_t layers : space.layers)
    for (const std::int64_t hidden : space.hidden_sizes)
      for (const std::int64_t head_dim : space.head_dims) {
        if (hidden % head_dim != 0) continue;
        const std::int64_t heads = hidden / head_dim;
        if (heads % space.base.num_kv_heads != 0) continue;
        model::Architecture shape = space.base;
        shape.num_layers = layers;
        shape.hidden_size = hidden;
        shape.intermediate = std::llround(space.intermediate_ratio * static_cast<double>(hidden));
        shape.num_heads = heads;
        shape.head_dim = head_dim;
        shapes.push_back(shape);
      }
  return shapes;
}

}  // namespace

SearchResult search(const SearchSpace& space) {
  const std::vector<model::Architecture> shapes = shapes_of(space);
  require(
      !shapes.empty(), ExitStatus::bad_configuration,
      "the search has no shape: no hidden size is a multiple of a head_dim by a multiple of the "
      "{} key and value heads",
      space.base.num_kv_heads);
  require(!space.tokens.empty(), ExitStatus::bad_configuration,
          "the search has no number of tokens");
  SearchResult result{.num_shapes = std::ssize(shapes), .num_in_range = 0, .candidates = {}};
  for (const model::Architecture& shape : shapes) {
    const auto parameters = static_cast<double>(shape.num_parameters());
    const double per_token = flops_per_token(shape, space.sequence_length, space.convention);
    std::optional<Candidate> best;
    for (const double tokens : space.tokens) {
      Candidate candidate{.architecture = shape,
                          .parameters = parameters,
                          .tokens = tokens,
                          .loss = 0.0,
                          .flops = per_token * tokens};
      if (space.chinchilla_range) {
        const auto [low, high] = *space.chinchilla_range;
        const double ratio = candidate.chinchilla_ratio();
        if (ratio < low || ratio > high) continue;
        ++result.num_in_range;
      }
      if (std::abs(candidate.flops - space.budget) > space.tolerance * space.budget) continue;
      candidate.loss = space.law.loss(parameters, tokens);
      if (!best || candidate.loss < best->loss) best = candidate;
    }
    if (best) result.candidates.push_back(*best);
  }
  std::stable_sort(result.candidates.begin(), result.candidates.end(),
                   [](const Candidate& a, const Candidate& b) { return a.loss < b.loss; });
  return result;
}

}  // namespace espalier::plan
