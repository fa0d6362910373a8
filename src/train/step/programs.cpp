#include "train/step/programs.hpp"

#include <algorithm>

#include "base/integers.hpp"
#include "config/grid.hpp"

namespace espalier::train {

using pipeline::ActionKind;

std::int64_t num_micro_batches(const config::Parameters& p, const parallel::GridShape& shape) {
  return std::max<std::int64_t>(
      p.training.global_batch_size / (p.training.micro_batch_size * shape.data), 1);
}

pipeline::Schedule training_schedule(const config::Parameters& p,
                                     const parallel::GridShape& shape) {
  const int micro_batches = narrow<int>(num_micro_batches(p, shape));
  if (shape.pipeline == 1)
    return pipeline::make_schedule(pipeline::ScheduleKind::one_f_one_b,
                                   {.micro_batches = micro_batches});
  const pipeline::ScheduleKind kind = pipeline::schedule_from_name(p.parallel.schedule);
  return pipeline::make_schedule(kind, {.ranks = shape.pipeline,
                                        .micro_batches = micro_batches,
                                        .chunks = config::num_chunks(p.parallel)});
}

pipeline::RankProgram training_program(const config::Parameters& p,
                                       const parallel::ProcessGrid& grid) {
  return pipeline::lower_rank(training_schedule(p, grid.shape()), grid.pipeline_rank());
}

pipeline::Schedule forward_schedule(const pipeline::Placement& placement, int micro_batches) {
  pipeline::Schedule schedule{.kind = pipeline::ScheduleKind::gpipe,
                              .placement = placement,
                              .micro_batches = micro_batches,
                              .actions = {}};
  schedule.actions.resize(static_cast<std::size_t>(placement.ranks));
  const int num_stages = placement.num_stages();
  // Within a wave the later stage first: it takes what the turn of a V has handed on.
  for (int wave = 0; wave < num_stages + micro_batches - 1; ++wave)
    for (int stage = std::min(wave, num_stages - 1); stage >= 0; --stage)
      if (const int micro_batch = wave - stage; micro_batch < micro_batches)
        schedule.actions[static_cast<std::size_t>(placement.rank_of(stage))].push_back(
            {ActionKind::forward, stage, micro_batch});
  return schedule;
}

pipeline::RankProgram forward_program(const pipeline::Placement& placement, int micro_batches,
                                      int pipeline_rank) {
  pipeline::RankProgram program =
      pipeline::lower_rank(forward_schedule(placement, micro_batches), pipeline_rank);
  for (pipeline::Step& step : program.steps)
    if (step.kind == pipeline::StepKind::compute) step.slot = 0;
  program.buffers.slots = 1;
  return program;
}

int forward_group(const pipeline::Placement& placement) {
  return placement.num_stages() == 1 ? 1 : 4 * placement.ranks;
}

}  // namespace espalier::train
