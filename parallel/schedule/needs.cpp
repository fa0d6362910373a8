#include "parallel/schedule/needs.hpp"

#include <algorithm>

namespace espalier::pipeline {

// A result has the name of its stage and of what made it: a message for a stage is the result of
// the one before it in its direction.
std::size_t Needs::place_of(const Action& result) const {
  const int row = (is_forward(result) ? 0 : num_stages_) + result.stage;
  return static_cast<std::size_t>(row) * static_cast<std::size_t>(micro_batches_) +
         static_cast<std::size_t>(result.micro_batch);
}

Needs::Needs(const Schedule& schedule, int rank)
    : num_stages_(schedule.placement.num_stages()), micro_batches_(schedule.micro_batches) {
  needs_.assign(
      2 * static_cast<std::size_t>(num_stages_) * static_cast<std::size_t>(micro_batches_), kNever);
  std::vector<int> so_far(schedule.actions.size(), 0);        // by rank, of what it has done
  std::vector<std::size_t> done(schedule.actions.size(), 0);  // actions of a list
  /// False: what it takes in is not made yet.
  const auto take = [&](std::size_t of, const Action& a) {
    const int step = is_forward(a) ? -1 : 1;
    const bool is_first = a.stage == (is_forward(a) ? 0 : num_stages_ - 1);
    if (a.kind != ActionKind::backward_weights && !is_first) {
      const int input = needs_[place_of({a.kind, a.stage + step, a.micro_batch})];
      if (input == kNever) return false;
      so_far[of] = std::max(so_far[of], input);
    }
    if (static_cast<int>(of) == rank) so_far[of] = static_cast<int>(done[of]) + 1;
    if (a.kind != ActionKind::backward_weights) needs_[place_of(a)] = so_far[of];
    return true;
  };
  for (bool moves = true; moves;) {
    moves = false;
    for (std::size_t of = 0; of < done.size(); ++of)
      for (const auto& list = schedule.actions[of];
           done[of] < list.size() && take(of, list[done[of]]); ++done[of])
        moves = true;
  }
}

int Needs::before(const Action& message) const {
  Action made = message;
  made.stage += is_forward(message) ? -1 : 1;
  return std::max(0, needs_[place_of(made)]);
}

}  // namespace espalier::pipeline
