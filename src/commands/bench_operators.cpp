#include "base/log.hpp"
#include "bench/operators.hpp"
#include "commands/banner.hpp"
#include "commands/commands.hpp"
#include "config/grid.hpp"

namespace espalier::commands {

ExitStatus bench_operators(parallel::MpiSession& session, config::Parameters& parameters,
                           bool dry_run) {
  print_banner(session, parameters, config::grid_shape(parameters));
  if (dry_run) return ExitStatus::ok;
  bench::BenchJob job(session, bench::with_one_block(parameters));
  train::log_devices(session, job.rank_context, parameters.device);
  const bench::Peaks& peaks = job.peaks;
  const std::vector<bench::Timed> rows = bench::time_operators(job);
  log::info("operators of one block, the head and the optimizer's share of one block on rank 0\n{}",
            bench::roofline_table(rows, peaks));
  log::info("{}", bench::largest_gaps(rows, peaks));
  session.world().barrier();
  return ExitStatus::ok;
}

}  // namespace espalier::commands
