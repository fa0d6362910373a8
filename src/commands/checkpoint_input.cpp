#include "commands/checkpoint_input.hpp"

#include <filesystem>

#include "base/error.hpp"
#include "base/log.hpp"
#include "config/changes.hpp"
#include "huggingface/config_json.hpp"
#include "huggingface/model_folder.hpp"
#include "io/checkpoint.hpp"
#include "io/toml_reader.hpp"
#include "train/checkpointing.hpp"
#include "train/kept_tokenizer.hpp"

namespace espalier::commands {
namespace {

std::filesystem::path find(const std::string& named, const config::Parameters& requested) {
  if (named.empty()) {
    const auto directory = train::checkpoint_directory(requested);
    const auto newest = io::newest_checkpoint(directory);
    require(newest.has_value(), ExitStatus::bad_data,
            "no complete checkpoint under {}; train first, or name one", directory.string());
    return *newest;
  }
  const std::filesystem::path folder(named);
  require(!huggingface::is_model_folder(folder), ExitStatus::bad_data,
          "{} is a Hugging Face folder: make a checkpoint of it first, with `espalier convert {} "
          "TARGET`",
          named, named);
  const auto found = io::checkpoint_at(folder);
  require(found.has_value(), ExitStatus::bad_data,
          "{} is neither a checkpoint nor a run folder with one", named);
  return *found;
}

/// The model that an input describes need not be the checkpoint's, which is the one that is used:
/// whoever has changed the input since, or names another checkpoint, learns it.
void tell_other_model(config::ModelParameters said, const config::ModelParameters& used) {
  if (config::model_is_absent(said)) return;
  if (said.num_key_value_heads == 0) said.num_key_value_heads = said.num_attention_heads;
  if (said.head_dim == 0 && said.num_attention_heads > 0)
    said.head_dim = said.hidden_size / said.num_attention_heads;
  std::string keys;
  for (const config::Change& change : config::changes_of_model(used, said))
    if (change.now != "0")  // else a size that the input does not give
      keys += fmt::format("\n  {} = {} in the checkpoint, {} in the input", change.key,
                          change.before, change.now);
  if (!keys.empty())
    log::warn("[model] of the input is not the checkpoint's, which is the one that is used:{}",
              keys);
}

}  // namespace

config::Parameters parameters_of_checkpoint(const std::string& named,
                                            const config::Parameters* input,
                                            std::span<const std::string> overrides) {
  const config::Parameters requested = input != nullptr ? *input : config::Parameters{};
  const std::filesystem::path folder = find(named, requested);
  const io::CheckpointReader reader(folder);
  config::Parameters p;
  io::read_parameters(reader.info().resolved_input, (folder / "master.h5").string(), {}, p);
  const std::string of_training = p.data.tokenizer;
  // The grid, the batches and the devices of the training say nothing about this job.
  p.parallel = requested.parallel;
  p.parallel.data = 0;
  p.training.micro_batch_size = requested.training.micro_batch_size;
  p.training.global_batch_size = requested.training.micro_batch_size;
  p.device = requested.device;
  p.run = requested.run;
  p.output = requested.output;
  p.validation = requested.validation;
  p.evaluation = requested.evaluation;
  if (input != nullptr) {
    const std::string prefix = p.generate.prefix;  // how texts of this model begin
    p.generate = requested.generate;
    if (p.generate.prefix == "auto") p.generate.prefix = prefix;
    p.tokenize = requested.tokenize;
  }
  p.data.verify_checksum = requested.data.verify_checksum;
  if (!requested.data.tokenizer.empty()) p.data.tokenizer = requested.data.tokenizer;
  if (!requested.data.validation.empty()) p.data.validation = requested.data.validation;
  const config::ModelParameters trained = p.model;
  io::read_parameters({}, "command line", overrides, p);
  // Its own copy, wherever the file was and whatever has become of it; another one that is named
  // counts.
  const std::string kept = train::kept_tokenizer(folder, reader.info());
  if (p.data.tokenizer == of_training && !kept.empty()) p.data.tokenizer = kept;
  if (const std::string keys = huggingface::differences(trained, p.model); !keys.empty())
    log::warn("the command line changes what the weights compute:\n  {}", keys);
  tell_other_model(requested.model, p.model);
  p.evaluation.checkpoint = p.generate.checkpoint = folder.string();
  return p;
}

}  // namespace espalier::commands
