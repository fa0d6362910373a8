#include "model/stage.hpp"

namespace espalier::model {

using device::ConstView;
using device::Output;
using device::View;

// Experts work on the tokens that a rank has between blocks: a tensor group has split them
// (sequence parallelism), and a rank that has none beside it has all.

Experts::Layer Stage::experts_of(const Block& block) {
  return {.number = sizes_.sparse_index(block.layer),
          .weights = block.w,
          .gradients = weights_.gradients.blocks.empty() ? nullptr : &gradients_of(block),
          .kept = block.b.experts,
          .counts = expert_counts_[block.place]};
}

ConstView Stage::experts_forward(const Block& block) {
  const View branch = a_.shape.splits_tokens ? a_.branch_local : a_.branch;
  const Experts::Layer layer = experts_of(block);
  experts_->forward(layer, block.b.n2, branch);
  return branch;
}

void Stage::experts_backward(const Block& block, bool recomputed, bool first) {
  const BlockActivations& b = block.b;
  const Experts::Layer layer = experts_of(block);
  const View d_n2 = a_.shape.splits_tokens ? a_.branch_local : a_.branch;
  experts_->backward(layer,
                     {.n2 = b.n2,
                      .d_branch = a_.d_residual,
                      .d_n2 = d_n2,
                      .remakes_rows = recomputed && !keeps_expert_rows(sizes_, block.recompute),
                      .remakes_gate_up = recomputed && block.recompute >= Recompute::mlp,
                      .output = first ? Output::replace : Output::accumulate,
                      .deferred = block.deferred != nullptr ? &block.deferred->experts : nullptr,
                      .balance = expert_balance_->of_block(layer.number, b.experts.chosen)});
  norm_backward(d_n2, b.x_mid, block.w.post_attention_layernorm, b.norm2, a_.d_residual,
                gradients_of(block).post_attention_layernorm);
}

void Stage::experts_weights_backward(const Block& block, bool first) {
  const DeferredExperts& deferred = block.deferred->experts;
  experts_->backward_weights(experts_of(block), deferred,
                             deferred.n2.exists() ? deferred.n2 : block.b.n2,
                             first ? Output::replace : Output::accumulate);
}

void Stage::begin_balance(int slot, const BackwardPass& pass) {
  std::vector<ExpertBalance::OfBlock> blocks;
  for (std::int64_t i = 0; i < extent().num_layers; ++i) {
    const Block block = block_of(slot, kNoWeightSlot, i);
    if (!has_experts(block)) continue;
    const Experts::Layer layer = experts_of(block);
    const auto own = static_cast<std::size_t>(comm_.expert ? comm_.expert->rank() : 0);
    const auto num_experts = static_cast<std::size_t>(sizes_.num_experts);
    blocks.push_back(
        {.number = layer.number,
         .counts =
             std::span<const std::int64_t>(layer.counts).subspan(own * num_experts, num_experts),
         .num_rounds = experts_->num_rounds(layer)});
  }
  expert_balance_->begin(blocks, pass.first, pass.num_sequences);
}

ExpertStatistics Stage::take_expert_statistics() {
  return expert_balance_ ? expert_balance_->take() : ExpertStatistics::none(sizes_);
}

}  // namespace espalier::model
