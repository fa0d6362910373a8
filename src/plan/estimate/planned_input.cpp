#include "plan/estimate/planned_input.hpp"

#include <cerrno>
#include <cstring>
#include <filesystem>
#include <optional>

#include "base/error.hpp"
#include "base/whole_file.hpp"
#include "io/toml_reader.hpp"

namespace espalier::plan {

config::Parameters read_planned_input(const std::string& path,
                                      std::span<const std::string> overrides) {
  const std::optional<std::string> text = read_whole_file(path);
  require(text.has_value() || errno != EISDIR, ExitStatus::bad_configuration,
          "{} is a folder, not an input file", path);
  require(text.has_value(), ExitStatus::bad_configuration, "the input file {} cannot be read: {}",
          path, std::strerror(errno));
  config::Parameters parameters;
  io::read_parameters(*text, path, overrides, parameters);
  if (parameters.run.name.empty())
    parameters.run.name = std::filesystem::path(path).stem().string();
  return parameters;
}

bool has_length(const config::Parameters& parameters) {
  return parameters.training.steps > 0 || parameters.training.tokens > 0;
}

void drop_schedule_without_length(config::Parameters& p) {
  if (has_length(p)) return;
  p.schedule = {};
  p.schedule.name = "constant";
  p.schedule.warmup_steps = 0;
  p.schedule.min_learning_rate = 0.0;
}

config::Parameters resolved_without_grid(config::Parameters p, const std::string& name) {
  if (config::model_is_absent(p.model))
    throw Error(
        ExitStatus::bad_configuration,
        fmt::format(
            fmt::runtime(
                p.model.initial_weights.empty()
                    ? "{} has no model: set model.file (see inputs/models) or the sizes in "
                      "[model]"
                    : "{} leaves the sizes of its model to model.initial_weights, which a plan "
                      "does not read: set model.file (see inputs/models) or the sizes in "
                      "[model]"),
            name),
        Met::by_every_rank);
  const bool is_run = has_length(p);
  drop_schedule_without_length(p);
  p.parallel.tensor = p.parallel.data = p.training.micro_batch_size = 1;
  p.parallel.context = p.parallel.pipeline = p.parallel.expert = 1;
  p.parallel.stage_layers.clear();
  try {
    config::resolve(p, 1, is_run ? config::Use::planning : config::Use::bench);
  } catch (const Error& error) {
    throw Error(error.status(), fmt::format("{}: {}", name, error.what()), error.met());
  }
  if (!is_run) p.training.steps = 0;
  return p;
}

}  // namespace espalier::plan
