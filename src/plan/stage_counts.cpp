#include "plan/stage_counts.hpp"

#include <numeric>

#include "base/integers.hpp"
#include "config/experts.hpp"
#include "config/grid.hpp"
#include "plan/counted_rank.hpp"

namespace espalier::plan {
namespace {

using pipeline::Action;
using pipeline::ActionKind;

/// Of how many shards optim::AdamW lets a GPU update at once: the calls of others are as many as
/// their blocks make.
constexpr std::int64_t kShardsOfALaunch = 64;

/// A small model in a pipeline whose stages have so many blocks.
config::Parameters with_stages(config::Parameters p, const std::vector<std::int64_t>& stage_layers,
                               std::int64_t ranks, const char* schedule,
                               std::int64_t micro_batches) {
  p.model.num_hidden_layers =
      std::accumulate(stage_layers.begin(), stage_layers.end(), std::int64_t{0});
  p.parallel.pipeline = ranks;
  p.parallel.schedule = schedule;
  p.parallel.chunks = std::ssize(stage_layers) / ranks;
  p.parallel.stage_layers = stage_layers;
  p.training.global_batch_size = p.training.micro_batch_size * p.parallel.data * micro_batches;
  return p;
}

/// The actions of a micro-batch of every stage of a rank are those of `list`, one stage after
/// another.
pipeline::RankProgram program_of(const pipeline::Placement& placement, int rank,
                                 const std::vector<std::pair<ActionKind, int>>& list) {
  pipeline::Schedule schedule{
      .kind = pipeline::ScheduleKind::one_f_one_b, .placement = placement, .actions = {}};
  schedule.actions.resize(static_cast<std::size_t>(placement.ranks));
  for (int chunk = 0; chunk < placement.chunks; ++chunk)
    for (const auto& [kind, micro_batch] : list) {
      schedule.actions[static_cast<std::size_t>(rank)].push_back(
          {kind, placement.stage_of(rank, chunk), micro_batch});
      schedule.micro_batches = std::max(schedule.micro_batches, micro_batch + 1);
    }
  return pipeline::lower_rank(schedule, rank, {.early = true});
}

StepCounts extended(const StepCounts& counts, const StepCounts& block, std::int64_t times) {
  StepCounts sum = counts;
  if (times != 0) add(sum, block, times);
  drop_empty(sum);
  return sum;
}

/// Leaves the matrix products alone, or all else.
void keep_products(StepCounts& counts, bool keeps) {
  std::erase_if(counts.operations, [&](const auto& of) { return (of.first.m > 0) != keeps; });
  if (keeps) counts.collectives.clear();
  drop_empty(counts);
}

/// combine(a, b) of every pass.
StageCounts combined(const StageCounts& a, const StageCounts& b, const auto& combine) {
  const auto backward = [&](const StageCounts::Backward& x, const StageCounts::Backward& y) {
    return StageCounts::Backward{.whole = combine(x.whole, y.whole),
                                 .inputs = combine(x.inputs, y.inputs),
                                 .weights = combine(x.weights, y.weights)};
  };
  return {.forward = combine(a.forward, b.forward),
          .later = backward(a.later, b.later),
          .at_once = backward(a.at_once, b.at_once),
          .of_first = combine(a.of_first, b.of_first)};
}

}  // namespace

bool has_blocks_alike(const config::Parameters& p) {
  const std::int64_t sparse = config::num_sparse_blocks(p.model);
  return p.memory.recompute != "budget" &&
         (!config::has_experts(p.model) ||
          (sparse == p.model.num_hidden_layers && p.model.mlp_only_layers.empty() &&
           p.model.decoder_sparse_step == 1));
}

CountedStages::CountedStages(const config::Parameters& parameters, device::Backend backend,
                             int compute_capability)
    : p_(parameters), backend_(backend), compute_capability_(compute_capability) {
  ESPALIER_ASSERT(has_blocks_alike(p_), "blocks of {} that are not alike", p_.model.model_type);
}

// Two ranks have the stages in turns. Every stage passes the micro-batches by itself: the first one
// is left out, it replaces gradients.
void CountedStages::count(const std::vector<std::int64_t>& stage_layers) {
  using enum ActionKind;
  constexpr std::int64_t kMicroBatches = 4;
  const config::Parameters p = with_stages(p_, stage_layers, 2, "zb1p", kMicroBatches);
  const parallel::GridShape shape = config::grid_shape(p);
  for (int pipeline_rank = 0; pipeline_rank < 2; ++pipeline_rank) {
    CountedRank rank(p, {shape, parallel::rank_at(shape, {.pipeline = pipeline_rank})}, backend_,
                     compute_capability_);
    const pipeline::Placement& placement = rank.memory.assignment.placement;
    const std::vector<std::vector<std::pair<ActionKind, int>>> lists = {
        {{forward, 0}, {forward, 1}, {backward, 0}, {backward, 1}, {forward, 2}, {backward, 2}},
        {{forward, 0},
         {forward, 1},
         {backward_inputs, 0},
         {backward_weights, 0},
         {backward_inputs, 1},
         {backward_weights, 1},
         {forward, 2},
         {backward_inputs, 2},
         {backward_weights, 2}}};
    for (const auto& list : lists) {
      rank.memory.program = program_of(placement, pipeline_rank, list);
      const train::StepModel model = rank.step_model();
      StepCounts before = rank.so_far();
      train::play(rank.context, model.part, [&](const pipeline::Step& step) {
        rank.take_pass(model, step);
        StepCounts now = rank.so_far();
        StepCounts pass = difference(now, before);
        before = std::move(now);
        const model::StageExtent& extent =
            rank.memory.assignment.stages[static_cast<std::size_t>(step.action.stage)];
        StageCounts& stage = counted_[StageKind::of(extent)];
        if (step.action.micro_batch == 0) {
          if (step.action.kind == backward) stage.of_first = std::move(pass);
          return;
        }
        pass.collectives.erase("pipeline");
        drop_empty(pass);
        StageCounts::Backward& to = step.action.micro_batch == 2 ? stage.at_once : stage.later;
        switch (step.action.kind) {
          case forward:
            stage.forward = std::move(pass);
            break;
          case backward:
            to.whole = std::move(pass);
            if (step.action.micro_batch == 1) {
              add(stage.of_first, to.whole, -1);
              keep_products(stage.of_first, true);
            }
            break;
          case backward_inputs:
            to.inputs = std::move(pass);
            break;
          case backward_weights:
            to.weights = std::move(pass);
            break;
        }
      });
    }
  }
}

const StageCounts& CountedStages::counted(const StageKind& kind) {
  const bool at_an_end = kind.has_embedding || kind.has_head;
  if (!counted_.contains(kind)) {
    if (kind.num_layers >= 2)
      count({2, 3, 2, 2});
    else if (at_an_end)
      count({kind.num_layers, kind.num_layers});
    else
      count({0, 1, 0, 0});
  }
  return counted_.at(kind);
}

const StageCounts& CountedStages::of(const StageKind& kind) {
  ESPALIER_ASSERT(!(kind.has_embedding && kind.has_head), "a stage of {} blocks with both ends",
                  kind.num_layers);
  if (kind.num_layers <= 2) return counted(kind);
  const auto [known, is_new] = known_.try_emplace(kind);
  if (!is_new) return known->second;
  const StageCounts& two = counted({2, kind.has_embedding, kind.has_head});
  const StageCounts block = combined(
      counted({3}), counted({2}),
      [](const StepCounts& three, const StepCounts& of_two) { return difference(three, of_two); });
  known->second = combined(two, block, [&](const StepCounts& counts, const StepCounts& more) {
    return extended(counts, more, kind.num_layers - 2);
  });
  return known->second;
}

CountedUpdates::CountedUpdates(const config::Parameters& parameters, device::Backend backend,
                               int compute_capability)
    : p_(parameters), backend_(backend), compute_capability_(compute_capability) {
  ESPALIER_ASSERT(has_blocks_alike(p_), "blocks of {} that are not alike", p_.model.model_type);
  p_.memory.recompute = "none";
  // Of the embedding, of two blocks, of three, of the head: a rank has one of them.
  const std::vector<std::int64_t> stages = {2, 2, 3, 2};
  two_ = count(stages, false, 1);
  block_ = count(stages, false, 2).plus(two_, -1);
  embedding_ = count(stages, false, 0).plus(two_, -1);
  head_ = count(stages, false, 3).plus(two_, -1);
}

CountedUpdates::Update CountedUpdates::Update::plus(const Update& other, std::int64_t times) const {
  Update sum = *this;
  if (times != 0) add(sum.counts, other.counts, times);
  sum.shards += times * other.shards;
  return sum;
}

CountedUpdates::Update CountedUpdates::count(const std::vector<std::int64_t>& stage_layers,
                                             bool is_v, int pipeline_rank) const {
  using enum ActionKind;
  const config::Parameters p =
      with_stages(p_, stage_layers, is_v ? 2 : std::ssize(stage_layers), is_v ? "zb-v" : "1f1b", 2);
  const parallel::GridShape shape = config::grid_shape(p);
  CountedRank rank(p, {shape, parallel::rank_at(shape, {.pipeline = pipeline_rank})}, backend_,
                   compute_capability_);
  rank.memory.program = program_of(rank.memory.assignment.placement, pipeline_rank,
                                   {{forward, 0}, {backward, 0}, {forward, 1}, {backward, 1}});
  const train::StepModel model = rank.step_model();
  StepCounts second;
  train::play(rank.context, model.part, [&](const pipeline::Step& step) {
    const StepCounts before = rank.so_far();
    rank.take_pass(model, step);
    if (step.action.micro_batch == 1) add(second, difference(rank.so_far(), before), 1);
  });
  StepCounts once = rank.so_far();
  add(once, second, 2);
  rank.take_step();
  once = difference(rank.so_far(), once);
  once.collectives.erase("pipeline");
  keep_products(once, false);
  return {std::move(once), std::ssize(rank.memory.parameter_store->shards())};
}

const StepCounts& CountedUpdates::of(const StageKind& kind) {
  const auto [known, is_new] = known_.try_emplace(kind);
  if (!is_new) return known->second;
  Update sum;
  if (kind.has_embedding && kind.has_head && p_.model.tie_word_embeddings) {
    // They are one tensor, of which there is one gradient on the rank.
    sum = count({1, 1, 1, 1}, true, 0).plus(block_, kind.num_layers - 2);
  } else {
    sum = two_.plus(block_, kind.num_layers - 2);
    if (kind.has_embedding) sum = sum.plus(embedding_, 1);
    if (kind.has_head) sum = sum.plus(head_, 1);
  }
  const std::int64_t at_once = backend_ == device::Backend::host ? 1 : kShardsOfALaunch;
  if (const auto adamw = sum.counts.operations.find(device::Operation{"adamw"});
      adamw != sum.counts.operations.end())
    adamw->second.calls = div_ceil(sum.shards, at_once);
  drop_empty(sum.counts);
  known->second = std::move(sum.counts);
  return known->second;
}

}  // namespace espalier::plan
