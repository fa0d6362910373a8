#pragma once
#include <memory>
#include <string>
#include <vector>

#include "device/context.hpp"
#include "model/rank_stages.hpp"
#include "parallel/comm/session.hpp"
#include "parallel/pipeline_link.hpp"
#include "plan/memory_plan.hpp"
#include "support/hdf5_fixture.hpp"
#include "train/step/step.hpp"

namespace espalier::testing {

/// The one session of a test program.
parallel::MpiSession& session();

/// tests/fixtures/model/<name>.h5, in the folder that ESPALIER_FIXTURES names or in the sources.
std::string fixture_path(const std::string& name);

/// The backend that ESPALIER_TEST_BACKEND names (host, emulated, cuda), the host by default. Ranks
/// share GPUs when there are fewer.
std::shared_ptr<device::Gpu> gpu_of_test();

/// What carries collectives of GPU memory: NCCL where ESPALIER_TEST_COMMUNICATOR=nccl, else MPI.
parallel::CollectiveLibrary library_of_test();

/// Sizes and optimizer settings of a fixture, for `data` data ranks.
config::Parameters parameters_of(const Hdf5Fixture& fixture, int tensor, int data,
                                 bool sequence_parallel, int zero_stage, const std::string& dtype);

/// A model with a fixture's weights on a grid of all ranks, and what it takes to run it.
struct ModelOnGrid {
  ModelOnGrid(const Hdf5Fixture& fixture, const config::Parameters& parameters,
              parallel::MpiSession& on = session());

  /// Weights from the seed of `parameters`. `on`: whose ranks the grid has.
  ModelOnGrid(const config::Parameters& parameters, std::shared_ptr<device::Gpu> gpu,
              parallel::MpiSession& on = session());

  /// Forward and backward of this data rank's share of `tokens` (sequences, S+1), then the
  /// reductions. Returns the mean loss over all sequences.
  double train(const std::vector<std::uint32_t>& tokens, std::int64_t num_sequences);
  /// A whole step of training, at a learning rate of 0.01 and without clipping.
  train::StepResult step(const train::StepBatches& batches, std::int64_t step,
                         const train::StepHooks& hooks = {});
  /// Largest |difference| from the fixture's logits on this rank's columns, relative to the largest
  /// logit.
  double logits_error(const Hdf5Fixture& fixture);
  /// KL(fixture's fp32 logits || ours) in nats, mean over the tokens; on one rank.
  double divergence(const Hdf5Fixture& fixture);
  /// For every owned shard: largest |difference| relative to the largest gradient of the tensor in
  /// Hugging Face's files (GPT-2's key bias alone has a gradient of zero: softmax does not see it).
  double gradient_error(const Hdf5Fixture& fixture);
  double gradient_norm();
  double max_over_ranks(double value);

  struct Tokens {
    std::vector<std::uint32_t> samples;  ///< (sequences, S+1)
    std::int64_t num_samples;
    model::Batch view() const;
  };
  /// This data rank's share of `tokens` (sequences, S+1).
  Tokens share_of(const std::vector<std::uint32_t>& tokens, std::int64_t num_sequences) const;

  config::Parameters parameters;
  parallel::ProcessGrid grid;
  std::shared_ptr<device::Gpu> gpu;  ///< null: the host
  device::Context context;
  plan::TrainingMemory memory;
  parallel::GridCommunicators communicators;
  std::unique_ptr<parallel::PipelineLink> link;  ///< null without a pipeline
  model::RankStages stages;
  model::Stage& stage;                        ///< the only one of a rank, without a pipeline
  model::ExpertStatistics expert_statistics;  ///< of all ranks, in the last train

 private:
  struct WithoutWeights {};
  ModelOnGrid(const config::Parameters& parameters, std::shared_ptr<device::Gpu> gpu,
              parallel::MpiSession& on, WithoutWeights);
  /// Which tokens of its data rank's share (B*S) a rank has, as it has them, without documents.
  std::vector<std::int32_t> tokens_of_rank() const;
  /// Of those of the fixture's tokens, (T, V_loc).
  std::vector<float> logits(const Hdf5Fixture& fixture);
};

}  // namespace espalier::testing
