#include "train/initial_weights.hpp"

#include "base/error.hpp"
#include "base/log.hpp"
#include "huggingface/config_json.hpp"
#include "huggingface/model_folder.hpp"
#include "io/toml_reader.hpp"
#include "kernels/elementwise.hpp"
#include "model/initialize.hpp"
#include "train/checkpointing.hpp"
#include "train/host_values.hpp"

namespace espalier::train {
namespace {

namespace fs = std::filesystem;

fs::path find_checkpoint_at(const std::string& source) {
  const auto folder = io::checkpoint_at(source);
  require(folder.has_value(), ExitStatus::bad_data,
          "model.initial_weights = \"{}\" is neither a Hugging Face folder (config.json and "
          "safetensors) nor a checkpoint",
          source);
  return *folder;
}

config::ModelParameters model_of(const io::CheckpointReader& reader, const fs::path& folder) {
  config::Parameters parameters;
  io::read_parameters(reader.info().resolved_input, (folder / "master.h5").string(), {},
                      parameters);
  return parameters.model;
}

}  // namespace

InitialWeights::InitialWeights(const std::string& source, const config::ModelParameters& model,
                               std::span<const parallel::TensorSpec> table)
    : source_(source) {
  config::ModelParameters there;
  if (huggingface::is_model_folder(source_)) {
    folder_ = std::make_unique<huggingface::ModelFolder>(source_);
    there = folder_->model();
  } else {
    source_ = find_checkpoint_at(source);
    // A rank of a larger grid needs a part of most pieces: those it does not need are not read.
    checkpoint_ =
        std::make_unique<io::CheckpointReader>(source_, io::CheckpointReader::Verify::whole_pieces);
    there = model_of(*checkpoint_, source_);
  }
  if (const std::string keys = huggingface::differences(there, model); !keys.empty())
    throw Error(ExitStatus::bad_data,
                fmt::format("model.initial_weights = \"{}\" is of another model:\n  {}\nChange "
                            "[model], or leave its sizes away: they are then taken from there",
                            source, keys),
                Met::by_every_rank);
  if (folder_)
    folder_->require_tensors(table);
  else
    require_same_model(*checkpoint_, {table.begin(), table.end()});
}

InitialWeights::~InitialWeights() = default;

void InitialWeights::load(device::Context& context, optim::Optimizer& optimizer) {
  for (optim::StatePiece& state : optimizer.state()) {
    const parallel::Rectangle& rectangle = state.piece.rectangle;
    if (rectangle.empty()) continue;
    const auto& spec = *optimizer.tensors()[static_cast<std::size_t>(state.piece.tensor)].spec;
    fill_from_host(context, state.master, [&](float* values) {
      if (folder_)
        folder_->read(spec, rectangle, values);
      else
        checkpoint_->read(spec.name, spec.rows, spec.cols, rectangle,
                          io::CheckpointReader::Field::master, values);
    });
    kernels::set_zero(context, state.m);
    kernels::set_zero(context, state.v);
  }
}

std::string InitialWeights::describe() const {
  if (folder_) return fmt::format("{} (Hugging Face, {})", source_.string(), folder_->dtype());
  return fmt::format("{} (checkpoint of step {})", source_.string(), checkpoint_->info().step);
}

void InitialWeights::warn_of_tokenizer(const std::string& identity) const {
  if (folder_ || log::rank() != 0) return;
  const std::string& theirs = checkpoint_->info().tokenizer_identity;
  if (!theirs.empty() && !identity.empty() && theirs != identity)
    log::warn(
        "model.initial_weights was trained with tokenizer {}, this run's data are of tokenizer {}: "
        "the ids do not mean the same",
        theirs, identity);
}

void randomize_masters(device::Context& context, const model::Architecture& architecture,
                       std::int64_t seed, optim::Optimizer& optimizer) {
  for (optim::StatePiece& state : optimizer.state()) {
    const auto& tensor = optimizer.tensors()[static_cast<std::size_t>(state.piece.tensor)];
    fill_from_host(context, state.master, [&](float* values) {
      model::initialize(architecture, *tensor.spec, static_cast<std::uint64_t>(seed),
                        state.piece.rectangle, values);
    });
  }
}

config::ModelParameters model_of_weights(const std::string& source) {
  if (huggingface::is_model_folder(source)) return huggingface::ModelFolder(source).model();
  const fs::path folder = find_checkpoint_at(source);
  return model_of(io::CheckpointReader(folder), folder);
}

}  // namespace espalier::train
