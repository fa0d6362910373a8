#include "plan/time/pipeline_layout.hpp"

#include <algorithm>

#include "config/grid.hpp"
#include "train/step/programs.hpp"

namespace espalier::plan {
namespace {

using pipeline::Action;
using pipeline::ActionKind;

BackwardWay way_of(const std::vector<Action>& actions, int stage, int micro_batch) {
  const Action* before = nullptr;  // what writes buffers that blocks share
  for (const Action& a : actions) {
    if (a.kind == ActionKind::backward_weights) continue;
    if (makes_input_gradients(a) && a.stage == stage && a.micro_batch == micro_batch)
      return {.is_divided = a.kind == ActionKind::backward_inputs,
              .is_at_once = before != nullptr && is_forward(*before) && before->stage == stage &&
                            before->micro_batch == micro_batch};
    before = &a;
  }
  return {};
}

}  // namespace

PipelineLayout PipelineLayout::of(const config::Parameters& p) {
  const parallel::GridShape shape = config::grid_shape(p);
  PipelineLayout layout{.assignment = model::assign_stages(model::Architecture::from(p.model), p),
                        .ranks = {}};
  const pipeline::Placement& placement = layout.assignment.placement;
  const auto few = static_cast<int>(few_micro_batches(p, shape));
  const pipeline::Schedule schedule = pipeline::make_schedule(
      pipeline::schedule_from_name(p.parallel.schedule),
      {.ranks = placement.ranks, .micro_batches = few, .chunks = placement.chunks});
  for (int rank = 0; rank < placement.ranks; ++rank) {
    const std::vector<Action>& actions = schedule.actions[static_cast<std::size_t>(rank)];
    const std::vector<int> shown = shown_micro_batches(actions, placement);
    std::vector<PlacedStage>& stages = layout.ranks.emplace_back();
    for (int chunk = 0; chunk < placement.chunks; ++chunk) {
      const int stage = placement.stage_of(rank, chunk);
      stages.push_back(
          {.kind = StageKind::of(layout.assignment.stages[static_cast<std::size_t>(stage)]),
           .timed = way_of(actions, stage, shown[static_cast<std::size_t>(chunk)]),
           .summed = way_of(actions, stage, std::min(1, few - 1))});
    }
  }
  return layout;
}

}  // namespace espalier::plan
