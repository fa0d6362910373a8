#include "plan/time/attention_pairs.hpp"

#include <algorithm>
#include <cmath>

namespace espalier::plan {

double document_length(const config::Parameters& p) {
  const auto length = static_cast<double>(p.training.sequence_length);
  const auto tokens = static_cast<double>(p.bench.document_tokens);
  return p.data.document_mask && tokens > 0.0 ? std::min(tokens, length) : length;
}

double attention_pairs(double queries, double length, double document) {
  const double whole = std::floor(length / document), rest = length - whole * document;
  const double of_sequence = 0.5 * (whole * document * (document + 1.0) + rest * (rest + 1.0));
  return queries / length * of_sequence;
}

}  // namespace espalier::plan
