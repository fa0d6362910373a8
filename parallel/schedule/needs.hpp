#pragma once
#include <vector>

#include "parallel/schedule/schedule.hpp"

namespace espalier::pipeline {

/// How far a rank must have come in its list before the others can send it what it is to take in: a
/// message that is received earlier than that waits for the rank itself.
class Needs {
 public:
  /// Takes the lists of all ranks one after another: their number of actions in steps.
  Needs(const Schedule& schedule, int rank);

  /// How many actions of the rank, from its first, must be done before another rank can make the
  /// message. 0 for what it makes without this rank, and for what no rank ever makes.
  int before(const Action& message) const;

 private:
  static constexpr int kNever = -1;
  std::size_t place_of(const Action& result) const;

  int num_stages_, micro_batches_;
  /// (2, stages, m): of every result, how much of the rank it needs; kNever: it is not made.
  std::vector<int> needs_;
};

}  // namespace espalier::pipeline
