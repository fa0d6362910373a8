#pragma once
#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <string_view>
#include <utility>
#include <vector>

#include "model/architecture.hpp"

namespace espalier::plan {

/// How many parameters and FLOPs a model is said to have. The published searches (for Qwen3 and
/// Llama 3 at 1.36e21 FLOPs) count neither the LM head's product nor that attention is causal, and
/// an attention product A / 2 times too often.
enum class FlopsConvention : std::uint8_t {
  exact,      ///< LM head once, causal attention half: FlopsPerToken::causal_attention
  published,  ///< 3 L (2 (2 H H + 2 H K D) + 2 A S H + 6 H F)
  six_n,      ///< 6 N
  marin,      ///< 3 (L (6 H F + 2 H (A D + 2 K D) + 2 H H + 4 S A D + 3 S A) + 2 H V): speedruns
};
/// "exact", "published", "6n" or "marin"; Error (bad_configuration) for others.
FlopsConvention flops_convention_from_name(std::string_view name);
std::string_view convention_name(FlopsConvention convention);

/// Forward and backward, per token of sequences of S tokens, of a decoder with SwiGLU.
double flops_per_token(const model::Architecture& architecture, std::int64_t sequence_length,
                       FlopsConvention convention);

/// L(N, D) = e + a / N^alpha + b / D^beta, in nats per token. The constants are those of Hoffmann
/// et al. 2022 (arXiv:2203.15556, "Chinchilla").
struct LossLaw {
  double e = 1.69, a = 406.4, alpha = 0.34, b = 410.7, beta = 0.28;
  double loss(double parameters, double tokens) const;
};

/// What decides between candidates; the smaller value comes first.
enum class TieRule : std::uint8_t { loss, parameters, tokens, flops, layers };
/// The names of search.ties, in the order of TieRule; flops is the distance from the budget.
std::span<const std::string_view> tie_rule_names();

/// More numbers of tokens are not searched.
constexpr std::int64_t kMostTokenCounts = 10'000'000;

/// Shapes and numbers of tokens, all combinations of them.
struct SearchSpace {
  /// What the shapes share: V, K, tying, QK-norm, ... Of the sizes only those; K = 0: as many as
  /// query heads.
  model::Architecture base;
  std::vector<std::int64_t> layers;
  std::vector<std::int64_t> hidden_sizes;
  std::vector<std::int64_t> head_dims;     ///< A = H / D, where it divides and K divides A
  double intermediate_ratio = 3.0;         ///< F = ratio H,
  std::int64_t intermediate_multiple = 1;  ///< rounded to the nearest multiple of this
  std::vector<double> tokens;              ///< ascending
  std::int64_t sequence_length = 2048;
  double budget = 0.0;      ///< FLOPs
  double tolerance = 0.02;  ///< of the budget, either way
  FlopsConvention convention = FlopsConvention::exact;
  LossLaw law;
  bool law_counts_embedding = true;  ///< N of the law: all parameters, or without embeddings
  bool count_qk_norm = true;         ///< the published searches count N without its weights
  /// Only combinations with so many tokens per parameter, over 20 (Chinchilla's ratio).
  std::optional<std::pair<double, double>> chinchilla_range;
  /// Only shapes with so many parameters.
  std::optional<std::pair<double, double>> parameter_range;
  std::vector<TieRule> ties = {TieRule::loss, TieRule::parameters};
  double loss_resolution = 0.0;  ///< losses that round to the same multiple of it are equal; 0: no
};
/// `count` numbers from `first` to `last`, evenly spaced, both ends among them.
std::vector<double> evenly_spaced(double first, double last, std::int64_t count);
/// The same, with the same ratio from one to the next.
std::vector<double> logarithmically_spaced(double first, double last, std::int64_t count);

/// A (layers, hidden size, head size) of the space with what a search asks of it.
struct Shape {
  std::int64_t num_layers, hidden_size, intermediate, num_heads, num_kv_heads, head_dim;
  double parameters;       ///< N as the space counts them
  double law_parameters;   ///< N of the loss law
  double flops_per_token;  ///< forward and backward, by the convention of the space
};
/// Calls visit(shape) for every shape of the space: layers outermost, then hidden sizes, then head
/// sizes. N and FLOPs are linear in the layers, so that a shape costs some additions.
void visit_shapes(const SearchSpace& space, const std::function<void(const Shape&)>& visit);
model::Architecture architecture_of(const SearchSpace& space, const Shape& shape);

/// Indices [first, last) of SearchSpace::tokens.
struct TokenRange {
  std::size_t first, last;
  bool empty() const { return first >= last; }
  std::size_t size() const { return empty() ? 0 : last - first; }
};
/// Those that chinchilla_range lets pass with this shape.
TokenRange tokens_in_filter(const SearchSpace& space, const Shape& shape);
/// Of `range` those that spend the budget within the tolerance.
TokenRange tokens_in_budget(const SearchSpace& space, const Shape& shape, TokenRange range);

struct Candidate {
  model::Architecture architecture;
  double parameters;      ///< N as the space counts them
  double law_parameters;  ///< N of the loss law
  double tokens;
  double loss;
  double flops;  ///< of the whole training
  double chinchilla_ratio() const { return tokens / parameters / 20.0; }
};
struct SearchResult {
  std::int64_t num_shapes = 0;        ///< that the space has
  std::int64_t num_sized_shapes = 0;  ///< of those, in parameter_range
  std::int64_t num_pairs = 0;         ///< combinations of those and the numbers of tokens
  std::int64_t num_in_range = 0;      ///< combinations that chinchilla_range lets pass
  /// The best of each shape within the budget, by SearchSpace::ties.
  std::vector<Candidate> candidates;
};
/// For every shape the number of tokens with the lowest loss that spends the budget. What the ties
/// leave open keeps the order of the space. Throws Error (bad_configuration) where the space has no
/// shape or no tokens.
SearchResult search(const SearchSpace& space);

}  // namespace espalier::plan
