#pragma once
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "data/batch.hpp"
#include "model/stage.hpp"
#include "parallel/layout/grid.hpp"
#include "train/dataset.hpp"
#include "train/distributed_model.hpp"

namespace espalier::train {

struct Evaluation {
  double loss = 0.0;  ///< nats per predicted token
  double perplexity = 0.0;
  double bits_per_byte = 0.0;  ///< loss / ln 2 / (bytes of text per token of the whole set)
  std::uint64_t tokens = 0;    ///< predicted tokens that count
  std::int64_t sequences = 0;  ///< evaluated, of num_sequences
  std::int64_t num_sequences = 0;
  double round_s = 0.0;  ///< mean time of a round
  /// The first sequence whose micro-batch has a loss that is not finite.
  std::optional<std::int64_t> not_finite;

  bool is_complete() const { return sequences == num_sequences; }
};

/// Throws Error (bad_numbers, met by every rank) when the loss is not finite; `what` was evaluated.
void require_finite(const Evaluation& result, const std::string& what);
/// Throws that. `where`: ", first at sequence 3"; empty: not known.
[[noreturn]] void fail_not_finite(const std::string& what, double loss,
                                  const std::string& where = {});

/// How long an evaluation takes, by its rounds so far; 0 where that is not known yet.
struct Pace {
  double round_s = 0.0;
  double left_s = 0.0;  ///< of all rounds that are left
};
/// Asked before every round, on every rank with the same answer; false: the evaluation ends there.
using MayGoOn = std::function<bool(const Pace&)>;

/// What is evaluated.
struct EvaluationSet {
  const data::TokenStream* stream;
  double bytes_per_token;  ///< of text, mean over the set
  data::DocumentRule documents = {};
};

/// Forward passes of a model on this rank's grid.
struct ForwardLosses {
  /// Micro-batches that are best passed through it together.
  int group = 1;
  /// The sums of the token losses of so many micro-batches, as few as the group or fewer; 0 where
  /// another stage has the head. Collective over the ranks of a model.
  std::function<std::vector<double>(int count, const std::function<model::Batch(int)>& load)> pass;
};
/// Of a stage that is the whole model.
ForwardLosses forward_losses(model::Stage& stage);
/// Of a model in training, between steps: over the stages of its pipeline. Both outlive it.
ForwardLosses forward_losses(RankContext& rank_context, DistributedModel& model);

/// Mean loss over the first `sequences` samples of `set` in order (0: all), shared out over the
/// data axis, or over those before `may_go_on` (empty: always) says no. `round_s`: of an evaluation
/// before, 0 where there was none. Collective; the same result on every rank.
Evaluation evaluate(const ForwardLosses& losses, parallel::GridCommunicators& communicators,
                    const parallel::ProcessGrid& grid, const EvaluationSet& set,
                    std::int64_t micro_batch_size, std::int64_t sequence_length,
                    std::int64_t sequences, const MayGoOn& may_go_on = {}, double round_s = 0.0);

}  // namespace espalier::train
