#include "parallel/schedule/simulation.hpp"

#include <fmt/core.h>

#include <algorithm>
#include <limits>

#include "base/error.hpp"

namespace espalier::pipeline {
namespace {

constexpr double kNever = std::numeric_limits<double>::infinity();

class Run {
 public:
  /// `keeps`: what is computed when, and what is live, and not only how long it takes.
  Run(const Program& program, const Durations& durations, bool keeps)
      : program_(program),
        durations_(durations),
        keeps_(keeps),
        now_(program.ranks.size(), 0.0),
        at_(program.ranks.size(), 0) {
    const auto stages = static_cast<std::size_t>(program.placement.num_stages());
    ESPALIER_ASSERT(durations.forward.size() == stages && durations.inputs.size() == stages &&
                        durations.weights.size() == stages,
                    "durations of {}, {} and {} stages, not {}", durations.forward.size(),
                    durations.inputs.size(), durations.weights.size(), stages);
    messages_.resize(2 * stages * static_cast<std::size_t>(program.micro_batches));
    result_.ranks.resize(program.ranks.size());
  }

  Simulation run() {
    for (bool moves = true; moves;) {
      moves = false;
      for (std::size_t rank = 0; rank < now_.size(); ++rank)
        while (at_[rank] < steps(rank).size() && take(rank, steps(rank)[at_[rank]])) {
          ++at_[rank];
          moves = true;
        }
    }
    find_deadlock();
    result_.makespan = *std::max_element(now_.begin(), now_.end());
    for (RankSimulation& rank : result_.ranks) {
      rank.idle = result_.makespan - rank.busy;
      result_.ideal = std::max(result_.ideal, rank.busy);
    }
    return std::move(result_);
  }

 private:
  struct Message {
    double sent = kNever, received = kNever;  ///< posted
  };
  const std::vector<Step>& steps(std::size_t rank) const { return program_.ranks[rank].steps; }
  Message& message(const Action& a) {
    const auto stages = static_cast<std::size_t>(program_.placement.num_stages());
    const std::size_t row = (is_forward(a) ? 0 : stages) + static_cast<std::size_t>(a.stage);
    return messages_[row * static_cast<std::size_t>(program_.micro_batches) +
                     static_cast<std::size_t>(a.micro_batch)];
  }

  /// False: it cannot be said yet when the step ends.
  bool take(std::size_t rank, const Step& step) {
    double& now = now_[rank];
    switch (step.kind) {
      case StepKind::post_receive:
        message(step.action).received = now;
        return true;
      case StepKind::post_send:
        message(step.action).sent = now;
        return true;
      case StepKind::wait_receive:
      case StepKind::wait_send: {
        const Message& m = message(step.action);
        const double begin = std::max(m.sent, m.received);
        if (begin == kNever) return false;
        now = std::max(now, begin + durations_.message);
        return true;
      }
      case StepKind::compute:
        compute(rank, step.action);
        return true;
    }
    return true;
  }

  double duration_of(const Action& a) const {
    const auto stage = static_cast<std::size_t>(a.stage);
    double time = 0.0;
    if (is_forward(a)) time += durations_.forward[stage];
    if (makes_input_gradients(a)) time += durations_.inputs[stage];
    if (makes_weight_gradients(a)) time += weights_of(a);
    return time;
  }
  double weights_of(const Action& a) const {
    return durations_.weights[static_cast<std::size_t>(a.stage)];
  }

  void compute(std::size_t rank, const Action& a) {
    RankSimulation& r = result_.ranks[rank];
    const double begin = now_[rank], time = duration_of(a);
    now_[rank] += time;
    r.busy += time;
    if (!keeps_) return;
    const double weights = makes_weight_gradients(a) ? now_[rank] - weights_of(a) : now_[rank];
    r.actions.push_back({a, begin, now_[rank], weights});
    if (is_forward(a)) keep(r, begin, 1, 0);
    if (a.kind == ActionKind::backward_inputs) keep(r, begin, 0, 1);
    if (a.kind == ActionKind::backward_weights) keep(r, now_[rank], -1, -1);
    if (a.kind == ActionKind::backward) keep(r, now_[rank], -1, 0);
  }

  static void keep(RankSimulation& r, double time, int activations, int weight_inputs) {
    LiveSlots live = r.live.empty() ? LiveSlots{} : r.live.back();
    live = {time, live.activations + activations, live.weight_inputs + weight_inputs};
    r.live.push_back(live);
    if (live.activations > r.most.activations) {
      r.most.activations = live.activations;
      r.most.time = time;
    }
    r.most.weight_inputs = std::max(r.most.weight_inputs, live.weight_inputs);
  }

  // Deadlock ----------------------------------------------------------------------------------

  /// What a rank that stands waits for.
  Waiting waiting(std::size_t rank) const {
    const Step& step = steps(rank)[at_[rank]];
    Waiting w{.rank = static_cast<int>(rank),
              .for_rank = step.peer,
              .step = step,
              .next = {},
              .needs = {}};
    for (std::size_t i = at_[rank]; i < steps(rank).size(); ++i)
      if (steps(rank)[i].kind == StepKind::compute) {
        w.next = steps(rank)[i].action;
        break;
      }
    // The other end, and what of the peer's actions stands before it.
    const StepKind other =
        step.kind == StepKind::wait_receive ? StepKind::post_send : StepKind::post_receive;
    w.needs_is_there = false;
    const auto peer = static_cast<std::size_t>(step.peer);
    for (std::size_t i = 0; i < steps(peer).size(); ++i) {
      const Step& s = steps(peer)[i];
      if (s.kind == StepKind::compute) w.needs = s.action;
      if (s.kind == other && s.action == step.action) {
        w.needs_is_there = true;
        break;
      }
    }
    return w;
  }

  void find_deadlock() {
    std::vector<int> place(now_.size(), -1);  // in the chain
    for (std::size_t first = 0; first < now_.size(); ++first) {
      if (at_[first] == steps(first).size()) continue;
      std::size_t rank = first;
      while (true) {
        place[rank] = static_cast<int>(result_.deadlock.size());
        result_.deadlock.push_back(waiting(rank));
        const Waiting& w = result_.deadlock.back();
        const auto next = static_cast<std::size_t>(w.for_rank);
        if (!w.needs_is_there || at_[next] == steps(next).size()) return;
        if (place[next] >= 0) {
          result_.deadlock.erase(result_.deadlock.begin(), result_.deadlock.begin() + place[next]);
          return;
        }
        rank = next;
      }
    }
  }

  const Program& program_;
  const Durations& durations_;
  bool keeps_;
  Simulation result_;
  std::vector<double> now_;
  std::vector<std::size_t> at_;
  std::vector<Message> messages_;  ///< (2, stages, m)
};

}  // namespace

Durations even_durations(const Placement& placement, double forward, double inputs, double weights,
                         double message) {
  const auto stages = static_cast<std::size_t>(placement.num_stages());
  const double v = placement.chunks;
  return {.forward = std::vector<double>(stages, forward / v),
          .inputs = std::vector<double>(stages, inputs / v),
          .weights = std::vector<double>(stages, weights / v),
          .message = message};
}

double Simulation::bubble() const {
  double idle = 0.0;
  for (const RankSimulation& rank : ranks) idle += rank.idle;
  return makespan == 0.0 ? 0.0 : idle / (makespan * static_cast<double>(ranks.size()));
}

std::string Simulation::describe_deadlock() const {
  std::string text;
  for (const Waiting& w : deadlock) {
    if (!text.empty()) text += "\n";
    const bool receives = w.step.kind == StepKind::wait_receive;
    const std::string what = describe(w.step.action);
    text += receives ? fmt::format("rank {} waits for rank {} to send the input of {}", w.rank,
                                   w.for_rank, what)
                     : fmt::format("rank {} waits for rank {} to receive the input of {}", w.rank,
                                   w.for_rank, what);
    if (w.next && !receives) text += fmt::format(", before {}", describe(*w.next));
    text += w.needs_is_there
                ? fmt::format("; rank {} does that after {}", w.for_rank, describe(w.needs))
                : fmt::format("; rank {} never does that", w.for_rank);
  }
  return text;
}

Simulation simulate(const Program& program, const Durations& durations) {
  return Run(program, durations, true).run();
}

double makespan_of(const Program& program, const Durations& durations) {
  const Simulation simulation = Run(program, durations, false).run();
  ESPALIER_ASSERT(simulation.deadlock.empty(), "{}", simulation.describe_deadlock());
  return simulation.makespan;
}

Simulation simulate(const Schedule& schedule, const Durations& durations) {
  return simulate(lower(schedule), durations);
}

}  // namespace espalier::pipeline
