#include "commands/input.hpp"

#include <cerrno>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <sstream>

#include "commands/checkpoint_input.hpp"
#include "io/toml_reader.hpp"
#include "parallel/on_rank_0.hpp"
#include "train/initial_weights.hpp"

namespace espalier::commands {
namespace {

std::string read_text(const std::string& path) {
  std::error_code ignored;
  if (std::filesystem::is_directory(path, ignored))
    fail(ExitStatus::bad_configuration, "{} is a folder, not an input file", path);
  errno = 0;
  std::ifstream stream(path, std::ios::binary);
  std::ostringstream text;
  if (stream) text << stream.rdbuf();
  if (!stream)
    fail(ExitStatus::bad_configuration, "the input file {} cannot be read: {}", path,
         std::strerror(errno));
  return text.str();
}

/// What a command reads its input for.
config::Use use_of(const CommandLine& line) {
  const bool plans = line.command->use == config::Use::training && line.dry_run;
  return plans ? config::Use::planning : line.command->use;
}

/// The ranks that the input is for: those of the job or, for a dry run on one process, those that
/// [parallel] describes.
int ranks_of(const CommandLine& line, const config::Parameters& parameters, int job_ranks) {
  const config::Use use = use_of(line);
  const bool any_grid =
      line.dry_run && job_ranks == 1 && (use == config::Use::planning || use == config::Use::bench);
  return any_grid ? config::declared_ranks(parameters) : job_ranks;
}

config::Parameters read_by_rank_0(const CommandLine& line, int job_ranks) {
  config::Parameters parameters;
  std::error_code ignored;
  if (line.command->takes_checkpoint && std::filesystem::is_directory(line.input_file, ignored))
    return parameters_of_checkpoint(line.input_file, nullptr, line.overrides);
  const std::string name = line.input_file.empty() ? "command line" : line.input_file;
  const std::string text = line.input_file.empty() ? std::string() : read_text(line.input_file);
  config::Mistakes mistakes = io::read_parameters_noting(text, name, line.overrides, parameters);
  if (!mistakes.none() && !line.command->takes_checkpoint) {
    // Whoever repairs these wants to know the others, too. The weights' own sizes are not read now.
    if (!parameters.model.initial_weights.empty()) mistakes.distrust("model.");
    config::resolve(parameters, ranks_of(line, parameters, job_ranks), use_of(line), mistakes);
  }
  mistakes.throw_if_any();
  // A run that starts from weights may leave its sizes to them; what it says of the model counts.
  const bool trains =
      line.command->use == config::Use::training || line.command->use == config::Use::bench;
  if (trains && !parameters.model.initial_weights.empty() &&
      config::model_is_absent(parameters.model)) {
    const std::string weights = parameters.model.initial_weights;
    parameters = {};
    parameters.model = train::model_of_weights(weights);
    io::read_parameters(text, name, line.overrides, parameters);
  }
  if (parameters.run.name.empty())
    parameters.run.name = std::filesystem::path(line.input_file).stem().string();
  if (!line.command->takes_checkpoint) return parameters;
  const std::string& named = line.command->use == config::Use::generation
                                 ? parameters.generate.checkpoint
                                 : parameters.evaluation.checkpoint;
  return parameters_of_checkpoint(named, &parameters, line.overrides);
}

}  // namespace

config::Parameters read_input(parallel::MpiSession& session, const CommandLine& line) {
  const std::string text =
      on_rank_0(session, [&] { return config::to_toml(read_by_rank_0(line, session.size())); });
  config::Parameters parameters;
  io::read_parameters(text, line.input_file, {}, parameters);
  return parameters;
}

void resolve_input(const parallel::MpiSession& session, const CommandLine& line,
                   config::Parameters& parameters) {
  config::resolve(parameters, ranks_of(line, parameters, session.size()), use_of(line));
}

}  // namespace espalier::commands
