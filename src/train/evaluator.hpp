#pragma once
#include <cstdint>

#include "data/batch.hpp"
#include "model/transformer.hpp"
#include "parallel/grid.hpp"
#include "train/dataset.hpp"

namespace espalier::train {

struct Evaluation {
  double loss = 0.0;  ///< nats per predicted token
  double perplexity = 0.0;
  double bits_per_byte = 0.0;  ///< loss / ln 2 / (bytes of text per token of the whole set)
  std::uint64_t tokens = 0;    ///< predicted tokens that count
};

/// What is evaluated.
struct EvaluationSet {
  const data::TokenStream* stream;
  double bytes_per_token;  ///< of text, mean over the set
  data::DocumentRule documents = {};
};

/// Mean loss over the first `sequences` samples of `set` in order (0: all), shared out over the
/// data axis. Collective; the same result on every rank.
Evaluation evaluate(model::Transformer& transformer, parallel::GridCommunicators& communicators,
                    const parallel::ProcessGrid& grid, const EvaluationSet& set,
                    std::int64_t micro_batch_size, std::int64_t sequence_length,
                    std::int64_t sequences);

}  // namespace espalier::train
