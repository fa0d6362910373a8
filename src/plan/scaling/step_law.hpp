#pragma once
#include <cmath>

namespace espalier::plan {

/// What "Step Law" (Li et al. 2025, arXiv:2503.04715) found best for AdamW with a final learning
/// rate of 1e-5: a hint for a first try, not a rule.
struct StepLaw {
  double learning_rate;  ///< at the peak
  double batch_tokens;   ///< per step
};
/// N without embeddings and LM head, D in tokens:
///   learning rate  1.79 N^-0.713 D^0.307
///   batch          0.58 D^0.571 tokens
inline StepLaw step_law(double parameters_without_embedding, double tokens) {
  return {.learning_rate =
              1.79 * std::pow(parameters_without_embedding, -0.713) * std::pow(tokens, 0.307),
          .batch_tokens = 0.58 * std::pow(tokens, 0.571)};
}

}  // namespace espalier::plan
