#pragma once
#include <memory>
#include <string>

#include "config/parameters.hpp"
#include "device/arena.hpp"
#include "device/context.hpp"
#include "model/weights.hpp"
#include "parallel/session.hpp"
#include "tokenizer/tokenizer.hpp"

namespace espalier::commands {

/// The weights of a checkpoint on this grid, for evaluation and generation. The model and, where
/// the command line names none, the data keys are those the checkpoint was written with.
struct TrainedModel {
  /// `named`: a checkpoint folder; empty: the newest under output.directory. Collective. Throws
  /// Error (bad_data) when there is none or it cannot be read.
  TrainedModel(parallel::MpiSession& session, const config::Parameters& requested,
               const std::string& named);

  /// data.tokenizer; throws Error (bad_data) when it is not the one the model was trained with.
  tokenizer::Tokenizer open_tokenizer() const;

  config::Parameters parameters;
  std::int64_t step;
  std::string tokenizer_identity;  ///< of the training data; empty: not known
  model::Architecture architecture;
  DType dtype;
  parallel::ProcessGrid grid;
  device::Context context;
  device::Arena weight_arena;
  std::unique_ptr<model::Weights> weights;
  parallel::GridCommunicators communicators;
};

}  // namespace espalier::commands
