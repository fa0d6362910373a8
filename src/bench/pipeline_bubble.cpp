#include "bench/pipeline_bubble.hpp"

#include <array>
#include <vector>

#include "config/grid.hpp"
#include "train/step/programs.hpp"

namespace espalier::bench {
namespace {

using pipeline::ActionKind;

constexpr std::array kKinds{ActionKind::forward, ActionKind::backward, ActionKind::backward_inputs,
                            ActionKind::backward_weights};

/// Means over all ranks that have the stage.
pipeline::Durations measured_durations(parallel::MpiSession& session, const train::PassClock& clock,
                                       int num_stages) {
  const auto stages = static_cast<std::size_t>(num_stages);
  std::vector<double> sums(2 * kKinds.size() * stages);  // seconds and passes
  const auto place = [&](std::size_t kind, std::size_t stage) {
    return 2 * (kind * stages + stage);
  };
  for (std::size_t kind = 0; kind < kKinds.size(); ++kind)
    for (std::size_t stage = 0; stage < stages; ++stage)
      if (const auto found = clock.passes.find({kKinds[kind], static_cast<int>(stage)});
          found != clock.passes.end()) {
        sums[place(kind, stage)] = found->second.seconds;
        sums[place(kind, stage) + 1] = static_cast<double>(found->second.passes);
      }
  session.world().all_reduce_sum(sums);
  const auto mean = [&](std::size_t kind, std::size_t stage) {
    const double passes = sums[place(kind, stage) + 1];
    return passes > 0.0 ? sums[place(kind, stage)] / passes : 0.0;
  };
  pipeline::Durations durations;
  for (std::size_t stage = 0; stage < stages; ++stage) {
    durations.forward.push_back(mean(0, stage));
    double inputs = mean(2, stage), weights = mean(3, stage);
    if (inputs + weights > 0.0) {
      // Of a schedule that divides some backward passes and not others: all of them together take
      // what they took.
      const double divided = sums[place(2, stage)] + sums[place(3, stage)];
      const double factor = (sums[place(1, stage)] + divided) /
                            (sums[place(1, stage) + 1] * (inputs + weights) + divided);
      inputs *= factor;
      weights *= factor;
    } else {
      inputs = mean(1, stage);
    }
    durations.inputs.push_back(inputs);
    durations.weights.push_back(weights);
  }
  return durations;
}

}  // namespace

PipelineBubble pipeline_bubble(parallel::MpiSession& session, const BenchJob& job) {
  const train::PassClock& clock = job.pass_clock;
  const pipeline::Schedule schedule =
      train::training_schedule(job.parameters, config::grid_shape(job.parameters));
  PipelineBubble bubble;
  bubble.durations = measured_durations(session, clock, schedule.placement.num_stages());
  const pipeline::Simulation simulation = pipeline::simulate(schedule, bubble.durations);
  bubble.simulated = simulation.bubble();
  bubble.simulated_s = simulation.makespan;

  bubble.passes_s = clock.steps.front();
  std::array<double, 1> busy{};
  for (const auto& [pass, sum] : clock.passes) busy[0] += sum.seconds;
  session.world().all_reduce_sum(busy);
  bubble.measured = 1.0 - busy[0] / (session.size() * bubble.passes_s);
  return bubble;
}

}  // namespace espalier::bench
