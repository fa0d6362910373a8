#pragma once
#include "parallel/pipeline_link.hpp"
#include "plan/step_counts.hpp"
#include "train/step/step.hpp"

namespace espalier::plan {

/// A rank of a grid that is only counted: its model over planned buffers, whose operators and
/// collectives do nothing but say what they would do.
struct CountedRank {
  CountedRank(const config::Parameters& parameters, const parallel::ProcessGrid& grid,
              device::Backend backend, int compute_capability);

  /// Of memory.program, which may be replaced by another before this is called.
  train::StepModel step_model();
  train::StepBatches batches() const;
  /// A pass of one of the rank's stages, which completes no gradient.
  void take_pass(const train::StepModel& model, const pipeline::Step& step) const;
  /// A whole step, the gathers of weights behind it among it.
  void take_step();
  /// What has been done until now.
  StepCounts so_far();

  config::Parameters p;
  parallel::ProcessGrid grid;
  device::Context context;
  TrainingMemory memory;
  parallel::GridCommunicators communicators;
  model::RankStages stages;
  parallel::CountingLink link;
  model::Batch batch;
};

}  // namespace espalier::plan
