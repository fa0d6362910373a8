#pragma once
#include <optional>
#include <string>
#include <vector>

#include "parallel/schedule/lowering.hpp"

// How long a schedule takes, how long ranks are idle, and what they keep meanwhile.

namespace espalier::pipeline {

/// Times of one unit of one's choice. A whole backward takes inputs + weights.
struct Durations {
  std::vector<double> forward, inputs, weights;  ///< F, B, W: (p v), by stage
  double message = 0.0;  ///< from when both ends have posted it, beside what is computed
};
/// Of stages that are alike: a rank's whole work on a micro-batch takes so long, each of its v
/// chunks 1/v of it.
Durations even_durations(const Placement& placement, double forward, double inputs, double weights,
                         double message = 0.0);

/// An action of a rank and when it is computed.
struct TimedAction {
  Action action;
  double begin = 0.0, end = 0.0;
  /// Of a whole backward, how its time is divided, W behind B; else `end` or, of W, `begin`.
  double weights_begin = 0.0;
};

/// What a rank keeps from `time` on, in chunks: v of them are what a micro-batch needs on the rank.
struct LiveSlots {
  double time = 0.0;
  int activations = 0;    ///< from the begin of F to the end of W or of a whole backward
  int weight_inputs = 0;  ///< of gradients that W needs: from the begin of B to the end of W
};

struct RankSimulation {
  std::vector<TimedAction> actions;
  double busy = 0.0;
  double idle = 0.0;            ///< makespan - busy
  std::vector<LiveSlots> live;  ///< by time, an entry for every change
  LiveSlots most;               ///< of each apart; `time` is when activations are first so many
};

/// A rank that waits for another when none of all ranks can go on.
struct Waiting {
  int rank = 0, for_rank = 0;
  Step step;                   ///< wait_receive or wait_send
  std::optional<Action> next;  ///< what it would compute then; none: it would be done
  Action needs;                ///< what the other has to compute before, and does not come to
  bool needs_is_there = true;  ///< false: no list has what it needs
};

struct Simulation {
  double makespan = 0.0;  ///< all ranks done
  /// The makespan if no rank were ever idle: the work of the busiest rank.
  double ideal = 0.0;
  std::vector<RankSimulation> ranks;
  /// Empty: the step comes to its end. Else ranks each of which waits for the next, the last for
  /// the first, or that wait for something that no rank does; the times are those up to there.
  std::vector<Waiting> deadlock;

  /// Share of the ranks' time in which they are idle.
  double bubble() const;
  /// "rank 0 waits for the gradient ... of rank 1, which ..."; empty without a deadlock.
  std::string describe_deadlock() const;
};

/// Takes the steps as they are. A message has no place of its own (rendezvous): it travels when
/// its receive and its send are both posted, and neither end is done before it has. What comes to
/// its end here does so with any implementation of messages.
Simulation simulate(const Program& program, const Durations& durations);
/// Its makespan alone, which is sooner known. Of a program that comes to its end.
double makespan_of(const Program& program, const Durations& durations);
/// Of the schedule lowered with the buffers that it needs.
Simulation simulate(const Schedule& schedule, const Durations& durations);

}  // namespace espalier::pipeline
