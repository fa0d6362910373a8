#include "commands/trained_model.hpp"

#include "base/log.hpp"
#include "io/toml_reader.hpp"
#include "train/checkpointing.hpp"
#include "train/trainer.hpp"

namespace espalier::commands {
namespace {

struct Opened {
  std::filesystem::path folder;
  std::unique_ptr<io::CheckpointReader> reader;
};

Opened open(parallel::MpiSession& session, const config::Parameters& requested,
            const std::string& named) {
  const auto folder = train::find_checkpoint(requested, named, session.world());
  if (!folder)
    throw Error(ExitStatus::bad_data,
                fmt::format("no complete checkpoint under {}; train first, or name one",
                            train::checkpoint_directory(requested).string()),
                Met::by_every_rank);
  return {*folder, std::make_unique<io::CheckpointReader>(*folder)};
}

/// What the checkpoint was trained with, on the grid asked for now.
config::Parameters merge(const Opened& opened, const config::Parameters& requested, int num_ranks) {
  config::Parameters p;
  io::read_parameters(opened.reader->info().resolved_input, (opened.folder / "master.h5").string(),
                      {}, p);
  p.parallel.tensor = requested.parallel.tensor;
  p.parallel.data = 0;
  p.parallel.sequence_parallel = requested.parallel.sequence_parallel;
  p.training.global_batch_size = 0;  // set below: evaluation has no global batch
  p.training.micro_batch_size = requested.training.micro_batch_size;
  if (!requested.data.tokenizer.empty()) p.data.tokenizer = requested.data.tokenizer;
  if (!requested.data.validation.empty()) p.data.validation = requested.data.validation;
  p.output.directory = requested.output.directory;
  p.validation = requested.validation;
  p.data.verify_checksum = requested.data.verify_checksum;
  p.training.global_batch_size = p.training.micro_batch_size * num_ranks;
  config::resolve(p, num_ranks, config::Use::evaluation);
  return p;
}

parallel::ProcessGrid grid_of(const config::Parameters& p, int rank) {
  return {train::grid_shape(p), rank};
}

}  // namespace

TrainedModel::TrainedModel(parallel::MpiSession& session, const config::Parameters& requested,
                           const std::string& named)
    : parameters(),
      step(0),
      tokenizer_identity(),
      architecture(),
      dtype(DType::f32),
      grid({}, 0),
      weight_arena(device::Arena::planning("weights")) {
  Opened opened = open(session, requested, named);
  parameters = merge(opened, requested, session.size());
  step = opened.reader->info().step;
  tokenizer_identity = opened.reader->info().tokenizer_identity;
  architecture = model::Architecture::from(parameters.model);
  dtype = dtype_from_name(parameters.training.dtype);
  grid = grid_of(parameters, session.rank());
  model::Weights planned(architecture, grid, dtype, weight_arena, nullptr);
  weight_arena = device::Arena::backed("weights", weight_arena.used_bytes());
  weights = std::make_unique<model::Weights>(architecture, grid, dtype, weight_arena, nullptr);
  communicators = parallel::make_communicators(session, grid,
                                               static_cast<int>(weights->sizes().kv_replication));
  train::require_same_model(*opened.reader, weights->table);
  train::load_weights(context, *opened.reader, weights->local_tensors(), grid);
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

}  // namespace espalier::commands
