#include "base/log.hpp"
#include "commands/banner.hpp"
#include "commands/build_info.hpp"
#include "commands/commands.hpp"
#include "commands/stopped_early.hpp"
#include "parallel/on_rank_0.hpp"
#include "plan/memory_fit.hpp"
#include "train/device_choice.hpp"
#include "train/trainer.hpp"

namespace espalier::commands {

namespace {

/// Into device.memory_gib where that is set, else into the GPU that is here; without either there
/// is nothing to compare the plan with.
void print_fit(const config::Parameters& parameters, const parallel::GridShape& shape) {
  using device::Backend;
  using device::Gpu;
  if (parameters.device.memory_gib > 0.0)
    log::info("{}", plan::describe_fit(parameters, shape, plan::room_of(parameters.device)));
  else if (Gpu::count(Backend::cuda) > 0)
    log::info("{}",
              plan::describe_fit(parameters, shape, plan::room_of(*Gpu::open(Backend::cuda, 0))));
  else if (parameters.device.backend == "cuda")
    log::info("no GPU here ({}): set device.memory_gib to learn whether the plan fits",
              Gpu::why_none(Backend::cuda));
  const int capability = plan::planned_capability(parameters.device, Backend::cuda);
  if (capability == 0) {
    log::info("attention: set device.compute_capability to learn who would compute it");
    return;
  }
  const auto plan = plan::JobMemory::planned(parameters, {shape, 0}, Backend::cuda, capability);
  log::info("{}", plan.activations->describe_attention(plan.dtype));
  if (const std::string why = Gpu::why_without_code_for(capability); !why.empty())
    log::info("missing: {}", why);
}

}  // namespace

ExitStatus train(parallel::MpiSession& session, config::Parameters& parameters, bool dry_run) {
  const parallel::GridShape shape = train::grid_shape(parameters);
  if (dry_run) {
    log::info("{}", config::to_toml(parameters));
    print_banner(session, parameters, shape);
    const device::Backend backend = train::choose_backend(session, parameters.device);
    if (backend == device::Backend::cuda && session.rank() == 0) print_fit(parameters, shape);
    parallel::on_rank_0(session, [&] {
      train::check_files(parameters);
      return std::string();
    });
    log::info("dry run: nothing was trained");
    return ExitStatus::ok;
  }
  print_banner(session, parameters, shape);
  train::Trainer trainer(session, parameters, build_description());
  const train::StopReason reason = trainer.run();
  if (reason == train::StopReason::finished) {
    log::info("finished: all {} steps are done", trainer.step());
    return ExitStatus::ok;
  }
  const std::string wish =
      reason == train::StopReason::stop_after
          ? fmt::format(", as run.stop_after = {} says", parameters.run.stop_after)
          : "";
  return stopped_early(
      reason, fmt::format("step {} with a checkpoint{}; start the same command again to go on",
                          trainer.step(), wish));
}

}  // namespace espalier::commands
