#pragma once
#include <memory>

#include "config/parameters.hpp"
#include "device/context.hpp"
#include "model/rank_stages.hpp"
#include "parallel/comm/session.hpp"
#include "parallel/pipeline_link.hpp"
#include "plan/memory_plan.hpp"
#include "train/step/step.hpp"

namespace espalier::train {

// How every job starts: a rank context first, then what it computes with. Between the two lies the
// only time to measure the device, for the memory of a job is planned to fill it.

/// This rank: its place on the grid and where it computes (collective). On a GPU it has
/// taken no memory yet but the workspaces of kernels and of matrix products.
struct RankContext {
  /// `parameters` are resolved. Throws Error (bad_configuration) as choose_gpu and
  /// require_same_products do.
  RankContext(parallel::MpiSession& session, const config::Parameters& parameters);

  parallel::ProcessGrid grid;
  std::shared_ptr<device::Gpu> gpu;  ///< null: the host
  device::Context context;
};

/// Says in the log where the ranks compute, unless that is the host, and what carries their
/// collectives; warns of what is slow there (collective).
void log_devices(parallel::MpiSession& session, const RankContext& rank_context,
                 const config::DeviceParameters& parameters);

/// FLOP/s of this rank's matrix products, measured for about `seconds` while all ranks measure:
/// those that share a machine share its power (collective).
double measure_gemm_peak(parallel::MpiSession& session, RankContext& rank_context,
                         const config::Parameters& parameters, double seconds);

/// The parameters with what memory.recompute = "budget" chooses on every rank, for the GPU
/// that has least free or for device.memory_gib; the log says it (collective). On the host, which
/// has no other measure, throws Error (bad_configuration, met by every rank) when the rank that
/// needs most needs more than device.memory_gib.
config::Parameters with_memory_settled(parallel::MpiSession& session,
                                       const config::Parameters& parameters,
                                       const RankContext& rank_context);

/// The model on the grid, with all that training it takes: the memory that was planned, the
/// communicators of its groups, which reach it as register_activations says, the rank's stages
/// over both (collective). The weights are still zero.
struct DistributedModel {
  /// `rank_context` must outlive it. Throws Error (bad_configuration) when the memory cannot be
  /// had.
  DistributedModel(parallel::MpiSession& session, const config::Parameters& parameters,
                   RankContext& rank_context);
  DistributedModel(const DistributedModel&) = delete;
  DistributedModel& operator=(const DistributedModel&) = delete;

  plan::TrainingMemory memory;
  parallel::GridCommunicators communicators;
  std::unique_ptr<parallel::PipelineLink> link;  ///< null without a pipeline
  model::RankStages stages;  ///< they wait for the weights of a bucket before they use them

  /// What a training step takes; lives as long as this and the rank's context.
  StepModel step_model(RankContext& rank_context);
};

}  // namespace espalier::train
