#include "commands/input.hpp"

#include <cerrno>
#include <cstring>
#include <filesystem>
#include <optional>

#include "base/whole_file.hpp"
#include "commands/checkpoint_input.hpp"
#include "io/toml_reader.hpp"
#include "parallel/comm/on_rank_0.hpp"
#include "train/initial_weights.hpp"
#include "train/run_files.hpp"

namespace espalier::commands {
namespace {

std::string read_text(const std::string& path) {
  std::optional<std::string> text = read_whole_file(path);
  require(text.has_value() || errno != EISDIR, ExitStatus::bad_configuration,
          "{} is a folder, not an input file", path);
  require(text.has_value(), ExitStatus::bad_configuration, "the input file {} cannot be read: {}",
          path, std::strerror(errno));
  return std::move(*text);
}

/// What a command reads its input for.
config::Use use_of(const CommandLine& line, const config::Parameters& parameters) {
  // The host is measured by models of the program's own.
  if (line.command->name == "bench" && !parameters.bench.write.empty())
    return config::Use::document;
  const bool plans = line.command->use == config::Use::training && line.dry_run;
  return plans ? config::Use::planning : line.command->use;
}

/// The ranks that the input is for: those of the job or, for a dry run on one process, those that
/// [parallel] describes.
int ranks_of(const CommandLine& line, const config::Parameters& parameters, int job_ranks) {
  const config::Use use = use_of(line, parameters);
  const bool any_grid =
      line.dry_run && job_ranks == 1 && (use == config::Use::planning || use == config::Use::bench);
  return any_grid ? config::declared_ranks(parameters) : job_ranks;
}

/// config::resolve. Of a training its error also says what is not there of that which the input
/// names: the next job would end for it.
void resolve_or_tell_all(config::Parameters& parameters, const CommandLine& line, int job_ranks,
                         const config::Mistakes& known) {
  try {
    config::resolve(parameters, ranks_of(line, parameters, job_ranks), use_of(line, parameters),
                    known);
  } catch (const Error& error) {
    if (line.command->use != config::Use::training) throw;
    std::string text = error.what();
    for (const std::string& sentence : train::missing_inputs(parameters)) text += "\n" + sentence;
    throw Error(error.status(), text, error.met());
  }
}

/// A plan of grids has the schedule that the input names, and chooses where it names none. What it
/// names is seen by another default, which it then replaces.
void choose_planned_schedule(const std::string& text, const std::string& name,
                             const CommandLine& line, config::Parameters& parameters) {
  constexpr const char* kAnother = "gpipe";
  config::Parameters other;
  other.plan.schedule = other.parallel.schedule = kAnother;
  other.parallel.chunks = -1;
  static_cast<void>(io::read_parameters_noting(text, name, line.overrides, other));
  const auto names = [](const auto& value, const auto& default_value, const auto& with_another) {
    return value != default_value || with_another == value;
  };
  const config::Parameters unsaid;
  if (names(parameters.plan.schedule, unsaid.plan.schedule, other.plan.schedule)) {
    if (parameters.plan.schedule != unsaid.plan.schedule) return;
    parameters.parallel.schedule = unsaid.parallel.schedule;
    parameters.parallel.chunks = unsaid.parallel.chunks;
    return;
  }
  if (!names(parameters.parallel.schedule, unsaid.parallel.schedule, other.parallel.schedule) &&
      !names(parameters.parallel.chunks, unsaid.parallel.chunks, other.parallel.chunks))
    return;
  parameters.plan.schedule = parameters.parallel.schedule;
  parameters.plan.chunks = parameters.parallel.chunks;
}

config::Parameters read_by_rank_0(const CommandLine& line, int job_ranks) {
  config::Parameters parameters;
  std::error_code ignored;
  if (line.command->takes_checkpoint && std::filesystem::is_directory(line.input_file, ignored))
    return parameters_of_checkpoint(line.input_file, nullptr, line.overrides);
  require(!line.command->takes_checkpoint || line.input_file.empty() ||
              std::filesystem::exists(line.input_file, ignored),
          ExitStatus::bad_configuration, "{}: no checkpoint, run folder or input file is there",
          line.input_file);
  const std::string name = line.input_file.empty() ? "command line" : line.input_file;
  const std::string text = line.input_file.empty() ? std::string() : read_text(line.input_file);
  config::Mistakes mistakes = io::read_parameters_noting(text, name, line.overrides, parameters);
  if (!mistakes.none() && !line.command->takes_checkpoint) {
    // Whoever repairs these wants to know the others, too. The weights' own sizes are not read now.
    if (!parameters.model.initial_weights.empty()) mistakes.distrust("model.");
    resolve_or_tell_all(parameters, line, job_ranks, mistakes);
  }
  mistakes.throw_if_any();
  // A run, or the plan of one, that starts from weights may leave its sizes to them; what it says
  // of the model counts.
  const bool trains = line.command->use == config::Use::training ||
                      line.command->use == config::Use::bench ||
                      line.command->use == config::Use::document;
  if (trains && !parameters.model.initial_weights.empty() &&
      config::model_is_absent(parameters.model)) {
    const std::string weights = parameters.model.initial_weights;
    parameters = {};
    parameters.model = train::model_of_weights(weights);
    io::read_parameters(text, name, line.overrides, parameters);
  }
  if (line.command->name == "plan grid") choose_planned_schedule(text, name, line, parameters);
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
  resolve_or_tell_all(parameters, line, session.size(), {});
}

}  // namespace espalier::commands
