#pragma once
#include "config/parameters.hpp"
#include "model/stage_assignment.hpp"
#include "parallel/layout/grid.hpp"
#include "parallel/schedule/lowering.hpp"

namespace espalier::train {

/// Micro-batches of a rank in a step of resolved parameters; at least 1.
std::int64_t num_micro_batches(const config::Parameters& parameters,
                               const parallel::GridShape& shape);

/// The schedule of a training step: parallel.schedule, and one micro-batch after another without a
/// pipeline. Throws Error (bad_configuration, met by every rank) as make_schedule does.
pipeline::Schedule training_schedule(const config::Parameters& parameters,
                                     const parallel::GridShape& shape);
/// What the rank at this place does of it.
pipeline::RankProgram training_program(const config::Parameters& parameters,
                                       const parallel::ProcessGrid& grid);

/// Forward passes alone: stage s takes micro-batch i as the (s + i)-th wave. Whoever waits in a
/// wave waits for the one before it, and few messages are under way whatever the number of
/// micro-batches.
pipeline::Schedule forward_schedule(const pipeline::Placement& placement, int micro_batches);
/// What a rank does of it. All passes are in slot 0, since nothing is kept.
pipeline::RankProgram forward_program(const pipeline::Placement& placement, int micro_batches,
                                      int pipeline_rank);
/// So many micro-batches an evaluation passes through a pipeline together: enough that filling and
/// emptying it costs little, few enough that a run hears signals between them.
int forward_group(const pipeline::Placement& placement);

}  // namespace espalier::train
