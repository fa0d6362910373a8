#include <optional>
#include <utility>

#include "base/log.hpp"
#include "commands/banner.hpp"
#include "commands/build_info.hpp"
#include "commands/commands.hpp"
#include "config/grid.hpp"
#include "parallel/comm/on_rank_0.hpp"
#include "plan/time/step_time.hpp"
#include "train/device_choice.hpp"
#include "train/first_step.hpp"
#include "train/stopped_early.hpp"
#include "train/trainer.hpp"

namespace espalier::commands {
namespace {

/// What the first plan.device makes expect, for the report at the end; nothing without one. Before
/// anything is trained: a device that cannot be planned for ends the command here. Collective.
std::optional<runs::PlannedStep> planned_step(parallel::MpiSession& session,
                                              const config::Parameters& parameters) {
  std::optional<runs::PlannedStep> planned;
  parallel::on_rank_0(session, [&] {
    if (parameters.plan.device.empty()) return std::string();
    const config::HardwareParameters hardware = plan::hardware_of(parameters).front();
    const plan::StepTime time = plan::predict_step(parameters, hardware);
    const config::TrainingParameters& t = parameters.training;
    const auto step_tokens = static_cast<double>(t.global_batch_size * t.sequence_length);
    planned = {.device = hardware.name,
               .step_s = time.step(),
               .tokens_per_second = step_tokens / time.step(),
               .parts = {{"matrix products", time.products},
                         {"attention", time.attention},
                         {"memory-bound operators", time.memory_bound},
                         {"tensor communication", time.tensor_exposed},
                         {"context communication", time.context_exposed},
                         {"expert communication", time.expert_exposed},
                         {"data communication", time.data_exposed},
                         {"pipeline communication", time.bubble},
                         {"other", time.other}}};
    return std::string();
  });
  return planned;
}

/// The files, and the first step without its memory: what a dry run does beside the plan.
/// Collective.
void try_first_step(parallel::MpiSession& session, const config::Parameters& parameters) {
  const std::string where = parallel::on_rank_0(session, [&] {
    const train::RunPosition position = train::check_files(parameters);
    return fmt::format("{} {}", position.step, position.samples_consumed);
  });
  const train::RunPosition position{std::stoll(where),
                                    std::stoull(where.substr(where.find(' ') + 1))};
  if (!parameters.data.train.empty() || !parameters.data.sources.empty())
    train::read_first_batch(session, parameters, position);
  const device::Backend backend = train::choose_backend(session, parameters.device);
  parallel::on_rank_0(session, [&] {
    train::count_first_step(parameters, planned_room(parameters.device, backend));
    return std::string();
  });
}

ExitStatus run(parallel::MpiSession& session, const config::Parameters& parameters) {
  std::optional<runs::PlannedStep> planned = planned_step(session, parameters);
  train::Trainer trainer(session, parameters, build_description());
  if (planned) trainer.expect(std::move(*planned));
  const train::StopReason reason = trainer.run();
  if (reason == train::StopReason::finished) {
    log::info("finished: all {} steps are done", trainer.step());
    return ExitStatus::ok;
  }
  const std::string wish =
      reason == train::StopReason::stop_after
          ? fmt::format(", as run.stop_after = {} says", parameters.run.stop_after)
          : "";
  return train::stopped_early(
      reason, fmt::format("step {} with a checkpoint{}; start the same command again to go on",
                          trainer.step(), wish));
}

}  // namespace

ExitStatus train(parallel::MpiSession& session, config::Parameters& parameters, bool dry_run) {
  const parallel::GridShape shape = config::grid_shape(parameters);
  if (dry_run) {
    log::info("{}", config::to_toml(parameters));
    print_banner(session, parameters, shape);
    print_fit(session, parameters, shape);
    return train::status_unless_stopped([&] {
      try_first_step(session, parameters);
      log::info("dry run: nothing was trained");
      return ExitStatus::ok;
    });
  }
  print_banner(session, parameters, shape);
  return train::status_unless_stopped([&] { return run(session, parameters); });
}

}  // namespace espalier::commands
