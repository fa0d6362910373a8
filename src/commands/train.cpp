#include "base/log.hpp"
#include "commands/banner.hpp"
#include "commands/build_info.hpp"
#include "commands/commands.hpp"
#include "parallel/comm/on_rank_0.hpp"
#include "train/device_choice.hpp"
#include "train/stopped_early.hpp"
#include "train/trainer.hpp"

namespace espalier::commands {

ExitStatus train(parallel::MpiSession& session, config::Parameters& parameters, bool dry_run) {
  const parallel::GridShape shape = train::grid_shape(parameters);
  if (dry_run) {
    log::info("{}", config::to_toml(parameters));
    print_banner(session, parameters, shape);
    print_fit(session, parameters, shape);
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
  return train::stopped_early(
      reason, fmt::format("step {} with a checkpoint{}; start the same command again to go on",
                          trainer.step(), wish));
}

}  // namespace espalier::commands
