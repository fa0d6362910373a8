#include "inference/trained_model.hpp"

#include "base/log.hpp"
#include "train/checkpointing.hpp"
#include "train/device_choice.hpp"

namespace espalier::inference {
namespace {

/// Every prompt length has products of its own: what the library takes first does, and is the same
/// every time.
config::Parameters without_tuning(config::Parameters parameters) {
  parameters.device.tune_gemm = false;
  return parameters;
}

}  // namespace

TrainedModel::TrainedModel(parallel::MpiSession& session, const config::Parameters& p)
    : parameters(p),
      step(0),
      tokenizer_identity(),
      architecture(model::Architecture::from(p.model)),
      dtype(dtype_from_name(p.training.dtype)),
      rank_context(session, without_tuning(p)),
      weight_arena(device::Arena::planning("weights")) {
  io::CheckpointReader reader(
      p.evaluation.checkpoint, io::CheckpointReader::Verify::everything,
      train::wanted_weights(model::tensor_table(architecture), rank_context.grid),
      train::company(session));
  step = reader.info().step;
  tokenizer_identity = reader.info().tokenizer_identity;
  expert_bias = reader.info().expert_bias;
  model::Weights planned(architecture, rank_context.grid, dtype, weight_arena, nullptr);
  weight_arena = device::Arena::backed("weights", weight_arena.used_bytes(), rank_context.gpu);
  weights = std::make_unique<model::Weights>(architecture, rank_context.grid, dtype, weight_arena,
                                             nullptr);
  communicators =
      parallel::make_communicators(session, rank_context.grid, /*gradient_spans=*/{},
                                   &rank_context.context, train::collective_library(p.device));
  train::require_same_model(reader, weights->table);
  train::load_weights(rank_context.context, reader, weights->local_tensors(), rank_context.grid);
}

tokenizer::Tokenizer TrainedModel::open_tokenizer() const {
  const std::string& file = parameters.data.tokenizer;
  require(!file.empty(), ExitStatus::bad_configuration,
          "the checkpoint names no tokenizer: set data.tokenizer");
  auto tokenizer = tokenizer::Tokenizer::from_file(file);
  require(tokenizer_identity.empty() || tokenizer.identity() == tokenizer_identity,
          ExitStatus::bad_data,
          "data.tokenizer = \"{}\" is tokenizer {}, the model was trained with tokenizer {}; name "
          "that one",
          file, tokenizer.identity(), tokenizer_identity);
  return tokenizer;
}

}  // namespace espalier::inference
