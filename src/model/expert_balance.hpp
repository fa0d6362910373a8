#pragma once
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "device/context.hpp"
#include "kernels/moe/router.hpp"
#include "model/activations.hpp"
#include "parallel/comm/session.hpp"

namespace espalier::model {

/// What the experts of a step were asked to do, of one rank or summed over ranks.
struct ExpertStatistics {
  /// (blocks with experts of the model, E) pairs of a token and an expert; 0 of other stages.
  std::vector<double> choices;
  /// (blocks with experts, 2): the losses of balance and of size, each with its coefficient, means
  /// over the step. By block, so that their sum has the same bits wherever the blocks are.
  std::vector<double> losses;
  /// Passes of a layer times the rounds beyond its first, told by one rank of each expert group.
  double further_rounds = 0.0;

  /// No choices, of a model of these sizes.
  static ExpertStatistics none(const LocalSizes& sizes);
  bool exist() const { return !choices.empty(); }
  double balance_loss() const { return sum_of_losses(0); }  ///< of all blocks
  double z_loss() const { return sum_of_losses(1); }
  ExpertStatistics& operator+=(const ExpertStatistics& other);
  /// As values that can be summed over ranks, and back. Nothing where there are no experts.
  void append_to(std::vector<double>& values) const;
  /// `of_rank`: what a rank appended.
  static ExpertStatistics from(std::span<const double> values, const ExpertStatistics& of_rank);

 private:
  double sum_of_losses(std::size_t column) const;
};

/// The statistics of a step in a few numbers.
struct ExpertLoad {
  double balance_loss = 0.0, z_loss = 0.0;
  /// Of a block: the choices of its busiest expert, in means of all of its experts.
  struct OfBlock {
    std::int64_t layer;
    double largest;
  };
  std::vector<OfBlock> blocks;
  std::int64_t num_dead = 0;  ///< experts, of all blocks, that no token chose
  std::int64_t further_rounds = 0;

  /// The block of the largest; there is one.
  const OfBlock& busiest() const;
  /// "busiest expert 1.42 of the mean (block 3), 2 not chosen, balance loss 1.003e-03, ..."
  std::string describe() const;
  /// `statistics` of all ranks, of a model with experts.
  static ExpertLoad of(const ExpertStatistics& statistics, const Architecture& architecture);
};

/// The losses that keep the load of the experts even and their logits small, as what they add to
/// the gradient of the logits, and the statistics of a step. Everything is counted in the backward
/// pass: evaluation leaves no trace, and recomputation counts nothing twice.
class ExpertBalance {
 public:
  /// All must outlive this; so must what `scratch` points to.
  ExpertBalance(const LocalSizes& sizes, const ActivationShape& shape, const ExpertScratch& scratch,
                device::Context& context, parallel::GridCommunicators& communicators);

  /// Pairs of this rank's tokens and each expert, (E).
  using Counts = std::span<const std::int64_t>;
  struct OfBlock {
    std::int64_t number;  ///< of the model's blocks with experts
    Counts counts;
    std::int64_t num_rounds;
  };
  /// Before the backward pass of a micro-batch, the `first` of a step of `num_sequences` of all
  /// ranks; 0: without the losses. Its blocks in any order, the same on every rank. Collective over
  /// the ranks that the counts are summed over.
  void begin(std::span<const OfBlock> blocks, bool first, double num_sequences);

  /// What kernels::RouterBackward and BalanceLoss take.
  struct OfLogits {
    device::ConstView counts;
    kernels::TokenPlace place;
    float balance_scale, z_scale;
  };
  /// Of a block of the last begin. Valid until the next call.
  OfLogits of_block(std::int64_t number, device::ConstView chosen);

  /// Of all micro-batches since they were last taken. Waits for them.
  ExpertStatistics take();

 private:
  double balance_scale() const;
  /// All ranks of this stage; null: this one alone.
  parallel::Communicator* stage_group() const;
  std::int64_t data_size() const;
  double& summed(std::int64_t number, std::int64_t expert) {
    return summed_[static_cast<std::size_t>(number * sizes_.num_experts + expert)];
  }

  const LocalSizes& sizes_;
  const ActivationShape& shape_;
  const ExpertScratch& s_;
  device::Context& context_;
  parallel::GridCommunicators& comm_;
  double num_sequences_ = 0.0, num_micro_batches_ = 0.0;
  std::vector<double> now_;     ///< (blocks of begin, E) of this micro-batch
  std::vector<double> summed_;  ///< (blocks of the model, E) of the step so far, for `global`
  std::vector<double> all_;     ///< (E) of all blocks, for `huggingface`
  std::vector<std::int64_t> rows_of_now_;  ///< number of the block of each row
  std::vector<float> upload_;
  ExpertStatistics statistics_;
};

}  // namespace espalier::model
