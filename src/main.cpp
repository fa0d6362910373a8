// espalier <command> [input.toml] [section.key=value ...]: the whole program in eight steps.
#include <optional>

#include "base/host_loops.hpp"
#include "base/log.hpp"
#include "base/standard_streams.hpp"
#include "base/stop_request.hpp"
#include "commands/command_line.hpp"
#include "commands/failure.hpp"
#include "commands/input.hpp"
#include "commands/simd_choice.hpp"
#include "parallel/comm/session.hpp"

int main(int argc, char** argv) {
  using namespace espalier;
  prepare_standard_streams();
  // A scheduler may ask for an end at any moment, also while MPI starts on a thousand nodes.
  std::optional<StopSignals> stop_signals(std::in_place);
  // Outlives the try block: whoever reports an error must know the rank, and may have to end the
  // other ranks.
  std::optional<parallel::MpiSession> session;
  ExitStatus status = ExitStatus::ok;
  try {
    // 1. MPI, before anything else: it takes its own words off the command line, and without a rank
    //    it is not known who prints.
    session.emplace(&argc, &argv);
    log::set_rank(session->rank());

    // 2. The command line, before anything that costs time: a typo, or a question, ends here.
    const commands::CommandLine line = commands::parse_command_line(argc, argv);

    // What does not stop early is ended by a signal as any program is, but for SIGUSR1, which asks
    // for a checkpoint.
    if (!line.stops_early()) {
      stop_signals.reset();
      end_if_stop_requested();
    }

    if (line.answer) {
      log::line(*line.answer);
    } else {
      // 3. The host threads, after MPI, which may have bound this process to its cores, and in an
      //    inner scope: buffers and threads are gone before MPI is.
      const HostRuntime host;

      if (line.command->run_on_paths_with_input != nullptr) {
        status = line.command->run_on_paths_with_input(*session, line.paths, line.overrides,
                                                       line.dry_run);
      } else {
        // 4. The input, read by rank 0 alone: a thousand ranks opening one small file is what file
        //    systems dislike most.
        config::Parameters parameters = commands::read_input(*session, line);

        // 5. Defaults and limits that depend on the grid and on the processors, before any memory
        //    is taken: all ranks find the same mistakes, rank 0 prints them.
        commands::resolve_input(*session, line, parameters);
        commands::choose_simd_level(*session, parameters.device);

        // 6. The command.
        status = line.command->run(*session, parameters, line.dry_run);
      }
    }
  } catch (const std::exception& exception) {  // the only catch that ends the program
    status = commands::report_failure(session ? &*session : nullptr, exception);
  }

  // 7. MPI ends last: everything that could still communicate is gone. Output that could not be
  //    written is not a success.
  status = commands::status_with_output(status);
  session.reset();

  // 8. The status tells a job script what to do next (75: submit again).
  return static_cast<int>(status);
}
