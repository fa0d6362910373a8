// espalier status: how runs stand, at a terminal.
#include "base/log.hpp"
#include "commands/commands.hpp"
#include "io/toml_reader.hpp"
#include "parallel/comm/on_rank_0.hpp"
#include "runs/terminal.hpp"

namespace espalier::commands {

ExitStatus status(parallel::MpiSession& session, std::span<const std::string> paths,
                  std::span<const std::string> overrides, bool /*dry_run*/) {
  log::line(parallel::on_rank_0(session, [&] {
    config::Parameters p;
    io::read_parameters("", "command line", overrides, p);
    config::resolve(p, 1, config::Use::document);
    std::string text =
        runs::describe_status(runs::read_runs({paths.begin(), paths.end()}, runs::Depth::status),
                              report::format_from_name(p.plan.format), runs::now_s());
    text.pop_back();  // a line has its own end
    return text;
  }));
  return ExitStatus::ok;
}

}  // namespace espalier::commands
