#include "train/initial_weights.hpp"

#include "base/error.hpp"
#include "base/log.hpp"
#include "huggingface/config_json.hpp"
#include "huggingface/model_folder.hpp"
#include "io/toml_reader.hpp"
#include "kernels/elementwise.hpp"
#include "model/initialize.hpp"
#include "parallel/comm/on_rank_0.hpp"
#include "tokenizer/tokenizer.hpp"
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

/// Of the tokenizer that lies in a Hugging Face folder; empty: none does.
std::string identity_of_folder(const fs::path& folder) {
  std::error_code ignored;
  for (const char* name : {"tokenizer.json", "vocab.json"})
    if (fs::is_regular_file(folder / name, ignored))
      return tokenizer::Tokenizer::from_file(folder / name).identity();
  return {};
}

}  // namespace

InitialWeights::InitialWeights(const config::Parameters& p,
                               std::span<const parallel::TensorSpec> table,
                               parallel::MpiSession* session,
                               std::span<const io::CheckpointReader::Wanted> wanted)
    : source_(p.model.initial_weights) {
  if (huggingface::is_model_folder(source_)) {
    folder_ = std::make_unique<huggingface::ModelFolder>(source_);
    there_ = folder_->model();
  } else {
    const auto find = [&] { return find_checkpoint_at(p.model.initial_weights).string(); };
    // A rank of a larger grid needs a part of most shards: those it does not need are not read.
    const auto verify = io::CheckpointReader::Verify::whole_shards;
    if (session != nullptr) {
      source_ = parallel::on_rank_0(*session, find);
      checkpoint_ =
          std::make_unique<io::CheckpointReader>(source_, verify, wanted, company(*session));
    } else {
      source_ = find();
      checkpoint_ = std::make_unique<io::CheckpointReader>(source_, verify);
    }
    there_ = model_of(*checkpoint_, source_);
  }
  const std::string refused = huggingface::differences(there_, p.model, p.checkpoint.allow_changes);
  if (!refused.empty())
    throw Error(ExitStatus::bad_configuration,
                fmt::format("model.initial_weights = \"{}\" is of another model:\n  {}\nChange "
                            "[model], or leave its sizes away: they are then taken from there. To "
                            "take the weights all the same, where their shapes allow it, name the "
                            "keys in checkpoint.allow_changes",
                            p.model.initial_weights, refused),
                Met::by_every_rank);
  if (const std::string allowed = huggingface::differences(there_, p.model);
      !allowed.empty() && log::rank() == 0)
    log::warn("checkpoint.allow_changes: the weights of {} get another model:\n  {}",
              p.model.initial_weights, allowed);
  if (folder_ && folder_->is_untied_by_weights() && log::rank() == 0)
    log::warn("{}", huggingface::describe_untied(source_));
  if (folder_)
    folder_->require_tensors(table);
  else
    require_same_model(*checkpoint_, {table.begin(), table.end()});
}

InitialWeights::~InitialWeights() = default;

void InitialWeights::load(device::Context& context, optim::AdamW& optimizer) {
  for (optim::StateShard& state : optimizer.state()) {
    const parallel::Rectangle& rectangle = state.shard.rectangle;
    if (rectangle.empty()) continue;
    const auto& spec = *optimizer.store().tensor_of(state.shard).spec;
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
  if (log::rank() != 0 || identity.empty()) return;
  std::string theirs;
  try {
    theirs = folder_ ? identity_of_folder(source_) : checkpoint_->info().tokenizer_identity;
  } catch (const Error& error) {
    log::warn(
        "whether the ids of this run's data mean the same to model.initial_weights cannot be told: "
        "{}",
        error.what());
  }
  if (!theirs.empty() && theirs != identity)
    log::warn(
        "model.initial_weights was trained with tokenizer {}, this run's data are of tokenizer {}: "
        "the ids do not mean the same",
        theirs, identity);
}

void keep_special_tokens(config::ModelParameters& to, const config::ModelParameters& from) {
  if (to.bos_token_id < 0) to.bos_token_id = from.bos_token_id;
  if (to.eos_token_id.empty()) to.eos_token_id = from.eos_token_id;
  if (to.pad_token_id < 0) to.pad_token_id = from.pad_token_id;
  if (to.generation_config.empty()) to.generation_config = from.generation_config;
}

void randomize_masters(device::Context& context, const model::Architecture& architecture,
                       std::int64_t seed, optim::AdamW& optimizer) {
  for (optim::StateShard& state : optimizer.state()) {
    const auto& tensor = optimizer.store().tensor_of(state.shard);
    fill_from_host(context, state.master, [&](float* values) {
      model::initialize(architecture, *tensor.spec, static_cast<std::uint64_t>(seed),
                        state.shard.rectangle, values);
    });
  }
}

config::ModelParameters model_of_weights(const std::string& source) {
  if (huggingface::is_model_folder(source)) return huggingface::ModelFolder(source).model();
  const fs::path folder = find_checkpoint_at(source);
  return model_of(io::CheckpointReader(folder), folder);
}

}  // namespace espalier::train
