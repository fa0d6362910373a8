// The tables of a search as a space, and what can be wrong with them.
#include "plan/scaling/search_space.hpp"

#include <fmt/ranges.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include "base/text.hpp"
#include "config/experts.hpp"
#include "config/problems.hpp"
#include "plan/scaling/search_sizes.hpp"

namespace espalier::plan {
namespace {

using config::Parameters;
using config::Problems;
using config::SearchParameters;

// Beyond these a search is a slip of the pen: they are worked through in about a second each.
constexpr double kMostShapes = 1e7;
/// Whole numbers above are not all doubles, and no corpus has so many tokens.
constexpr double kMostTokens = 9007199254740992.0;

// Tokens and filters ------------------------------------------------------------------------------

void check_tokens(const SearchParameters& s, Problems& problems) {
  if (s.tokens_min > s.tokens_max)
    problems.add("search.tokens_min = {} is above search.tokens_max = {}: exchange them",
                 s.tokens_min, s.tokens_max);
  else if (s.tokens_max > kMostTokens)
    problems.add("search.tokens_max = {} is more than can be counted: at most {}", s.tokens_max,
                 kMostTokens);
  else if (s.tokens_count == 1 && s.tokens_min != s.tokens_max)
    problems.add(
        "search.tokens_count = 1 between search.tokens_min = {} and tokens_max = {}: set both to "
        "the number that is meant, or a larger count",
        s.tokens_min, s.tokens_max);
  else if (s.tokens_count > 1 && s.tokens_min == s.tokens_max)
    problems.add(
        "search.tokens_min = search.tokens_max = {} is one number of tokens, and "
        "search.tokens_count = {}: set it to 1, or raise tokens_max",
        s.tokens_min, s.tokens_count);
  else if (s.tokens_count > kMostTokenCounts)
    problems.add("search.tokens_count = {}: at most {}", s.tokens_count, kMostTokenCounts);
}

/// A range of which 0 leaves an end open. Nothing: no filter.
std::optional<std::pair<double, double>> filter_of(double min, double max) {
  if (min == 0.0 && max == 0.0) return std::nullopt;
  return std::pair(min, max == 0.0 ? std::numeric_limits<double>::infinity() : max);
}

void check_filter(const char* key, double min, double max, Problems& problems) {
  if (max > 0.0 && min > max)
    problems.add(
        "search.{0}_min = {1} is above search.{0}_max = {2}: nothing passes; exchange them", key,
        min, max);
}

std::vector<TieRule> ties_of(const SearchParameters& s, Problems& problems) {
  const auto names = tie_rule_names();
  const std::string all = fmt::format("{}", fmt::join(names, ", "));
  if (s.ties.empty())
    problems.add("search.ties is empty: name what decides, first to last, of: {}", all);
  std::vector<TieRule> rules;
  for (const std::string& name : s.ties) {
    const auto found = std::find(names.begin(), names.end(), name);
    if (found == names.end()) {
      const std::vector<std::string> words(names.begin(), names.end());
      const std::string near = nearest_name(name, words);
      problems.add("search.ties names \"{}\", which is no rule{}: there are {}", name,
                   near.empty() ? "" : fmt::format(" (the nearest is \"{}\")", near), all);
      continue;
    }
    const auto rule = static_cast<TieRule>(found - names.begin());
    if (std::find(rules.begin(), rules.end(), rule) != rules.end())
      problems.add("search.ties names \"{}\" twice: leave the second out", name);
    rules.push_back(rule);
  }
  return rules;
}

// Model -------------------------------------------------------------------------------------------

/// [model] with the sizes of one shape, checked as every model is.
void check_model(const Parameters& p, Problems& problems) {
  const config::ModelParameters& m = p.model;
  const auto refuse = [&](const char* key, std::int64_t value, const char* instead) {
    if (value != 0)
      problems.add(
          "model.{} = {} is what the search chooses: remove it (a model.file sets it, too), or say "
          "{} = [{}]",
          key, value, instead, value);
  };
  refuse("num_hidden_layers", m.num_hidden_layers, "search.layers");
  refuse("hidden_size", m.hidden_size, "search.hidden_sizes");
  refuse("head_dim", m.head_dim, "search.head_dims");
  if (m.num_attention_heads != 0)
    problems.add(
        "model.num_attention_heads = {} follows from hidden size and head size: remove it, or say "
        "which by search.head_dims",
        m.num_attention_heads);
  if (m.intermediate_size != 0)
    problems.add(
        "model.intermediate_size = {} follows from the hidden size: remove it, or say how by "
        "search.intermediate_ratio",
        m.intermediate_size);
  if (m.vocab_size == 0)
    problems.add(
        "model.vocab_size is not set: the rows of the embedding, which all shapes share (Qwen3 has "
        "151936, Llama 3 128256)");
  if (config::has_experts(m))
    problems.add(
        "model.model_type = \"{}\": the search chooses sizes of dense models alone, by laws that "
        "were "
        "fitted to them; use \"qwen3\"",
        m.model_type);
  if (m.model_type == "gpt2" && m.num_key_value_heads != 0)
    problems.add(
        "model.num_key_value_heads = {} does not fit model.model_type = \"gpt2\", which has one "
        "for each query head: remove it",
        m.num_key_value_heads);
  if (m.model_type == "gpt2" && (p.search.flops == "published" || p.search.flops == "marin"))
    problems.add(
        "search.flops = \"{}\" counts the three matrices of SwiGLU, which model.model_type = "
        "\"gpt2\" has not: use \"exact\" or \"6n\"",
        p.search.flops);
  if (p.training.steps != 0 || p.training.tokens != 0)
    problems.add(
        "training.{} is what the search chooses: remove it, or set search.tokens_min and "
        "search.tokens_max",
        p.training.steps != 0 ? "steps" : "tokens");
}

void check_numbers(const Parameters& p, Problems& problems) {
  const SearchParameters& s = p.search;
  if (s.budget == 0.0)
    problems.add(
        "search.budget is not set: the FLOPs of the whole training, as 1.36e21 (60 hours of eight "
        "B200 at 40 % of 2.25e15 a second are 1.6e21)");
  if (s.tolerance == 0.0)
    problems.add(
        "search.tolerance = 0 lets no pair pass that is not the budget to its last bit: use a "
        "share of it, as 0.02");
  if (p.loss_law.a == 0.0 || p.loss_law.alpha == 0.0)
    problems.add(
        "loss_law.a = {} and loss_law.alpha = {} say that the size of a model does not matter: "
        "both must be above 0",
        p.loss_law.a, p.loss_law.alpha);
  if (p.loss_law.b == 0.0 || p.loss_law.beta == 0.0)
    problems.add(
        "loss_law.b = {} and loss_law.beta = {} say that the number of tokens does not matter: "
        "both must be above 0",
        p.loss_law.b, p.loss_law.beta);
}

/// What of a model that has sizes can still be wrong: RoPE, epsilon, the longest sequence.
void check_first_shape(const Parameters& p, const SearchSpace& space, Problems& problems) {
  std::optional<Shape> first;
  visit_shapes(space, [&](const Shape& shape) {
    if (!first) first = shape;
  });
  if (!first) return;
  config::ModelParameters m = model_of(p, architecture_of(space, *first));
  config::resolve_model(m, problems);
  if (p.training.sequence_length > config::longest_sequence(m))
    problems.add(
        "training.sequence_length = {} is above model.max_position_embeddings = {}: shorten the "
        "sequences, or raise the limit",
        p.training.sequence_length, m.max_position_embeddings);
}

/// "1 to 2", "at least 1"
std::string in_words(const std::pair<double, double>& range) {
  return std::isfinite(range.second) ? fmt::format("{:.4g} to {:.4g}", range.first, range.second)
                                     : fmt::format("at least {:.4g}", range.first);
}

/// Filters that leave nothing over, which shows only when all shapes have been seen.
void check_filters(const SearchSpace& space, Problems& problems) {
  double fewest = std::numeric_limits<double>::infinity(), most = 0.0;
  double lowest = fewest, highest = 0.0;
  bool is_sized = false, is_in_filter = false;
  visit_shapes(space, [&](const Shape& shape) {
    fewest = std::min(fewest, shape.parameters);
    most = std::max(most, shape.parameters);
    if (space.parameter_range && (shape.parameters < space.parameter_range->first ||
                                  shape.parameters > space.parameter_range->second))
      return;
    is_sized = true;
    lowest = std::min(lowest, space.tokens.front() / shape.parameters / 20.0);
    highest = std::max(highest, space.tokens.back() / shape.parameters / 20.0);
    is_in_filter = is_in_filter || !tokens_in_filter(space, shape).empty();
  });
  if (!is_sized)
    problems.add(
        "no shape has {} parameters (search.parameters_min and parameters_max): the shapes of the "
        "space have {:.4g} to {:.4g}",
        in_words(*space.parameter_range), fewest, most);
  else if (!is_in_filter)
    problems.add(
        "no number of tokens is {} times 20 per parameter of any shape (search.chinchilla_min and "
        "chinchilla_max): the pairs of the space have {:.4g} to {:.4g}; widen the filter, or "
        "change search.tokens_min, search.tokens_max or search.tokens_count",
        in_words(*space.chinchilla_range), lowest, highest);
}

}  // namespace

LossLaw loss_law_of(const config::LossLawParameters& p) {
  return {.e = p.e, .a = p.a, .alpha = p.alpha, .b = p.b, .beta = p.beta};
}

config::ModelParameters model_of(const Parameters& parameters, const model::Architecture& a) {
  config::ModelParameters m = parameters.model;
  m.file.clear();
  m.hidden_size = a.hidden_size;
  m.intermediate_size = a.intermediate;
  m.num_hidden_layers = a.num_layers;
  m.num_attention_heads = a.num_heads;
  m.num_key_value_heads = a.num_kv_heads;
  m.head_dim = a.head_dim;
  return m;
}

SearchSpace space_of(const Parameters& p) {
  const SearchParameters& s = p.search;
  Problems problems({});
  const Sizes layers = layers_of(s), hidden = hidden_sizes_of(s);
  check_numbers(p, problems);
  check_model(p, problems);
  const bool has_layers = check_sizes(layers, problems);
  const bool has_hidden = check_sizes(hidden, problems);
  const bool has_heads = check_head_dims(s, problems);
  check_tokens(s, problems);
  check_filter("chinchilla", s.chinchilla_min, s.chinchilla_max, problems);
  check_filter("parameters", s.parameters_min, s.parameters_max, problems);
  SearchSpace space;
  space.ties = ties_of(s, problems);
  if (has_layers && has_hidden && has_heads) {
    const double shapes = static_cast<double>(count_of(layers)) *
                          static_cast<double>(count_of(hidden)) *
                          static_cast<double>(s.head_dims.size());
    if (shapes > kMostShapes)
      problems.add(
          "the search has {:.3g} combinations of layers, hidden sizes and head sizes, more than "
          "{:.0f}: raise search.layers_step and search.hidden_step",
          shapes, kMostShapes);
  }
  problems.mistakes().throw_if_any();

  space.layers = numbers_of(layers);
  space.hidden_sizes = numbers_of(hidden);
  space.head_dims = s.head_dims;
  check_intermediate(s, *std::max_element(space.hidden_sizes.begin(), space.hidden_sizes.end()),
                     problems);
  check_heads(space.hidden_sizes, s, p.model.num_key_value_heads, problems);
  problems.mistakes().throw_if_any();

  // The sizes of the base are never used; what `from` asks for is some size.
  config::ModelParameters shared = p.model;
  shared.hidden_size = shared.head_dim = shared.num_attention_heads = 1;
  shared.intermediate_size = shared.num_hidden_layers = 1;
  shared.num_key_value_heads = std::max<std::int64_t>(shared.num_key_value_heads, 1);
  space.base = model::Architecture::from(shared);
  space.base.num_kv_heads = p.model.num_key_value_heads;
  space.intermediate_ratio = s.intermediate_ratio;
  space.intermediate_multiple = s.intermediate_multiple;
  space.tokens = s.tokens_spacing == "linear"
                     ? evenly_spaced(s.tokens_min, s.tokens_max, s.tokens_count)
                     : logarithmically_spaced(s.tokens_min, s.tokens_max, s.tokens_count);
  space.sequence_length = p.training.sequence_length;
  space.budget = s.budget;
  space.tolerance = s.tolerance;
  space.convention = flops_convention_from_name(s.flops);
  space.law = loss_law_of(p.loss_law);
  space.law_counts_embedding = p.loss_law.counts == "all";
  space.count_qk_norm = s.count_qk_norm;
  space.chinchilla_range = filter_of(s.chinchilla_min, s.chinchilla_max);
  space.parameter_range = filter_of(s.parameters_min, s.parameters_max);
  space.loss_resolution = s.loss_resolution;
  check_first_shape(p, space, problems);
  problems.mistakes().throw_if_any();
  check_filters(space, problems);
  problems.mistakes().throw_if_any();
  return space;
}

}  // namespace espalier::plan
