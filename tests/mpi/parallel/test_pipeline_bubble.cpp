// How long the ranks of a pipeline wait for each other, beside the simulation of their schedule.
// The stages sleep in place of computing, so that ranks that share a processor do not slow each
// other down; messages are real, and between the blocks of a pass they are looked after as in
// training. Run by name: validation/pipeline_bubble reads what it prints.
#include <fmt/core.h>

#include <algorithm>
#include <catch2/catch.hpp>
#include <chrono>
#include <cstdlib>
#include <thread>

#include "parallel/pipeline_link.hpp"
#include "parallel/schedule/simulation.hpp"
#include "played_program.hpp"

using namespace espalier;
using namespace espalier::testing;

namespace {

using Clock = std::chrono::steady_clock;

double seconds_since(Clock::time_point begin) {
  return std::chrono::duration<double>(Clock::now() - begin).count();
}

/// Blocks of a stage: ESPALIER_BUBBLE_BLOCKS, else 4.
int num_blocks() {
  const char* asked = std::getenv("ESPALIER_BUBBLE_BLOCKS");
  return asked != nullptr ? std::max(std::atoi(asked), 1) : 4;
}

/// Of a message, 128 KB: MPI does not send it ahead, and it is made and looked at in under 1 ms.
constexpr std::int64_t kFloats = 32768;

/// What a stage takes for a pass.
double duration_of(const pipeline::Action& a, const pipeline::Durations& d) {
  const auto stage = static_cast<std::size_t>(a.stage);
  switch (a.kind) {
    case pipeline::ActionKind::forward:
      return d.forward[stage];
    case pipeline::ActionKind::backward:
      return d.inputs[stage] + d.weights[stage];
    case pipeline::ActionKind::backward_inputs:
      return d.inputs[stage];
    case pipeline::ActionKind::backward_weights:
      return d.weights[stage];
  }
  return 0.0;
}

struct Measured {
  double seconds = 0.0, slept = 0.0;
};

Measured play(parallel::MpiSession& session, const pipeline::Schedule& schedule,
              const pipeline::Durations& durations) {
  device::Context host;
  const parallel::ProcessGrid grid({.pipeline = session.size()}, session.rank());
  const auto link = parallel::make_pipeline_link(session, grid, schedule.placement, host);
  const pipeline::Program program = pipeline::lower(schedule);
  Measured measured;
  PlayedProgram played(host, *link, program, session.rank(), 0, kFloats);
  const int blocks = num_blocks();
  played.set_compute([&](const pipeline::Action& a) {
    const std::chrono::duration<double> of_block(duration_of(a, durations) / blocks);
    for (int block = 0; block < blocks; ++block) {
      const auto begin = Clock::now();
      std::this_thread::sleep_for(of_block);
      measured.slept += seconds_since(begin);
      if (block + 1 < blocks) link->progress();
    }
  });
  session.world().barrier();
  const auto begin = Clock::now();
  played.play();
  session.world().barrier();
  measured.seconds = seconds_since(begin);
  return measured;
}

}  // namespace

TEST_CASE("ranks wait as long as the simulation says", "[.bubble]") {
  parallel::MpiSession session(nullptr, nullptr);
  const int p = session.size();
  for (const bool uneven : {false, true})
    for (const pipeline::Schedule& schedule : schedules_of(p, 8)) {
      // A rank's whole work on a micro-batch takes 300 ms; the last stage has a head.
      pipeline::Durations durations = pipeline::even_durations(schedule.placement, 0.1, 0.1, 0.1);
      if (uneven)
        for (auto* part : {&durations.forward, &durations.inputs, &durations.weights})
          part->back() *= 1.5;
      const pipeline::Simulation planned = pipeline::simulate(schedule, durations);
      const Measured mine = play(session, schedule, durations);
      std::vector<double> sums{mine.seconds - mine.slept, mine.seconds};
      session.world().all_reduce_sum(sums);
      if (session.rank() == 0)
        fmt::print("bubble {} {} {} {} {:.4f} {:.4f} {:.4f} {:.4f}\n",
                   pipeline::name_of(schedule.kind), p, schedule.placement.chunks,
                   uneven ? "uneven" : "even", planned.bubble(), sums[0] / sums[1],
                   planned.makespan, mine.seconds);
    }
}
