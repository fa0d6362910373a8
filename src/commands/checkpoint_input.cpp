#include "commands/checkpoint_input.hpp"

#include <filesystem>

#include "base/error.hpp"
#include "io/checkpoint.hpp"
#include "io/toml_reader.hpp"
#include "train/checkpointing.hpp"

namespace espalier::commands {
namespace {

std::filesystem::path find(const std::string& named, const config::Parameters& requested) {
  const std::filesystem::path folder(named);
  if (named.empty()) {
    const auto directory = train::checkpoint_directory(requested);
    const auto newest = io::newest_checkpoint(directory);
    require(newest.has_value(), ExitStatus::bad_data,
            "no complete checkpoint under {}; train first, or name one", directory.string());
    return *newest;
  }
  require(std::filesystem::is_directory(folder), ExitStatus::bad_data,
          "{} is no folder: name a checkpoint or the output.directory of a run", named);
  for (const auto& directory : {folder / "checkpoints", folder})
    if (const auto newest = io::newest_checkpoint(directory)) return *newest;
  return folder;  // a checkpoint, or the reader says what is wrong with it
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
  // The grid and the batches of the training say nothing about this job.
  p.parallel = requested.parallel;
  p.parallel.data = 0;
  p.training.micro_batch_size = requested.training.micro_batch_size;
  p.training.global_batch_size = requested.training.micro_batch_size;
  p.run = requested.run;
  p.output = requested.output;
  p.validation = requested.validation;
  p.evaluation = requested.evaluation;
  if (input != nullptr) p.generate = requested.generate;
  p.data.verify_checksum = requested.data.verify_checksum;
  if (!requested.data.tokenizer.empty()) p.data.tokenizer = requested.data.tokenizer;
  if (!requested.data.validation.empty()) p.data.validation = requested.data.validation;
  io::read_parameters({}, "command line", overrides, p);
  p.evaluation.checkpoint = p.generate.checkpoint = folder.string();
  return p;
}

}  // namespace espalier::commands
