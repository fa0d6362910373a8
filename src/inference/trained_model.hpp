#pragma once
#include <memory>
#include <string>
#include <vector>

#include "config/parameters.hpp"
#include "device/arena.hpp"
#include "model/weights.hpp"
#include "parallel/comm/session.hpp"
#include "tokenizer/tokenizer.hpp"
#include "train/distributed_model.hpp"

namespace espalier::inference {

/// The weights of a checkpoint on this grid, for evaluation and generation.
struct TrainedModel {
  /// The checkpoint evaluation.checkpoint with the input of parameters_of_checkpoint, resolved.
  /// Collective. Throws Error (bad_data) when it cannot be read or is of another model.
  TrainedModel(parallel::MpiSession& session, const config::Parameters& parameters);

  /// data.tokenizer; throws Error (bad_data) when it is not the one the model was trained with.
  tokenizer::Tokenizer open_tokenizer() const;

  const config::Parameters& parameters;
  std::int64_t step;
  std::string tokenizer_identity;  ///< of the training data; empty: not known
  model::Architecture architecture;
  DType dtype;
  train::RankContext rank_context;
  device::Arena weight_arena;
  std::unique_ptr<model::Weights> weights;
  parallel::GridCommunicators communicators;
  std::vector<float> expert_bias;  ///< of the choice of experts (io::CheckpointInfo)
};

}  // namespace espalier::inference
