#include "base/log.hpp"
#include "check/job.hpp"
#include "commands/commands.hpp"
#include "commands/simd_choice.hpp"

namespace espalier::commands {

ExitStatus check(parallel::MpiSession& session, config::Parameters& parameters, bool /*dry_run*/) {
  const report::Format format = report::format_from_name(parameters.plan.format);
  check::Job job{.session = session,
                 .parameters = parameters,
                 .simd_shortfall = why_not_better(session, parameters.device),
                 .hosts = session.host_names()};
  bool stopped = false;
  const std::vector<check::Finding> findings = check::check_all(job, stopped);
  if (session.rank() == 0) log::line(check::print(findings, format));
  const std::string status =
      session.world().broadcast(std::to_string(static_cast<int>(check::status_of(findings))), 0);
  if (stopped) {
    if (session.rank() == 0) log::warn("asked to stop: what is missing above was not tried");
    return ExitStatus::stopped_early;
  }
  return static_cast<ExitStatus>(std::stoi(status));
}

}  // namespace espalier::commands
