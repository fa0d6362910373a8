#pragma once
#include <deque>

#include "model/stage.hpp"
#include "parallel/schedule/schedule.hpp"

namespace espalier::model {

/// The stages of this rank, one for each chunk, over the same weights and activations.
class RankStages {
 public:
  /// All references must outlive it. Throws as Stage does.
  RankStages(const Architecture& architecture, Weights& weights, Activations& activations,
             device::Context& context, parallel::GridCommunicators& communicators) {
    for (std::size_t chunk = 0; chunk < activations.chunks.size(); ++chunk)
      stages_.emplace_back(architecture, weights, activations, context, communicators, chunk);
  }

  Stage& operator[](int chunk) { return stages_.at(static_cast<std::size_t>(chunk)); }
  std::deque<Stage>& all() { return stages_; }
  void set_weight_use(parallel::ParameterStore& parameters) {
    for (Stage& stage : stages_) stage.set_weight_use(parameters);
  }
  /// Stage::set_between_blocks of all of them.
  void set_between_blocks(const std::function<void()>& call) {
    for (Stage& stage : stages_) stage.set_between_blocks(call);
  }
  /// Stage::take_loss_sum of this rank's head; 0 where another rank has it.
  double take_loss_sum() { return stages_.front().take_loss_sum(); }
  /// Stage::take_expert_statistics of all of them.
  ExpertStatistics take_expert_statistics() {
    ExpertStatistics sum = stages_.front().take_expert_statistics();
    for (std::size_t chunk = 1; chunk < stages_.size(); ++chunk)
      sum += stages_[chunk].take_expert_statistics();
    return sum;
  }

 private:
  std::deque<Stage> stages_;  ///< they do not move
};

}  // namespace espalier::model
