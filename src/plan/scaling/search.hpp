#pragma once
#include <cstdint>
#include <optional>
#include <span>
#include <string_view>
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

/// Forward and backward, per token of sequences of S tokens, of a decoder with SwiGLU.
double flops_per_token(const model::Architecture& architecture, std::int64_t sequence_length,
                       FlopsConvention convention);

/// L(N, D) = e + a / N^alpha + b / D^beta, in nats per token. The constants are those of Hoffmann
/// et al. 2022 (arXiv:2203.15556, "Chinchilla").
struct LossLaw {
  double e = 1.69, a = 406.4, alpha = 0.34, b = 410.7, beta = 0.28;
  double loss(double parameters, double tokens) const;
};

/// Shapes and numbers of tokens, all combinations of them.
struct SearchSpace {
  /// What the shapes share: V, K, tying, QK-norm, ... The published searches count N without
  /// QK-norm.
  model::Architecture base;
  std::vector<std::int64_t> layers;
  std::vector<std::int64_t> hidden_sizes;
  std::vector<std::int64_t> head_dims;  ///< A = H / D, where it divides and K divides A
  double intermediate_ratio = 3.0;      ///< F = ratio H, rounded
  std::vector<double> tokens;           ///< ascending
  std::int64_t sequence_length = 2048;
  double budget;            ///< FLOPs
  double tolerance = 0.02;  ///< of the budget, either way
  FlopsConvention convention = FlopsConvention::exact;
  LossLaw law;
  /// Only combinations with so many tokens per parameter, over 20 (Chinchilla's ratio).
  std::optional<std::pair<double, double>> chinchilla_range;
};
/// `count` numbers from `first` to `last`, evenly spaced, both ends among them.
std::vector<double> evenly_spaced(double first, double last, std::int64_t count);

struct Candidate {
  model::Architecture architecture;
  double parameters, tokens;
  double loss;
  double flops;  ///< of the whole training
  double chinchilla_ratio() const { return tokens / parameters / 20.0; }
};
struct SearchResult {
  std::int64_t num_shapes = 0;    ///< that the space has
  std::int64_t num_in_range = 0;  ///< combinations that chinchilla_range lets pass, if there is one
  std::vector<Candidate>
      candidates;  ///< the best of each shape within the budget, lowest loss first
};
/// For every shape the number of tokens with the lowest loss that spends the budget. Of equal
/// losses the smaller shape comes first, in the order of the space. Throws Error
/// (bad_configuration) where the space has no shape or no tokens.
SearchResult search(const SearchSpace& space);

}  // namespace espalier::plan
