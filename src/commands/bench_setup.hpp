#pragma once
#include "commands/roofline.hpp"
#include "config/parameters.hpp"
#include "data/batch.hpp"
#include "device/context.hpp"
#include "model/transformer.hpp"
#include "parallel/session.hpp"
#include "plan/memory_plan.hpp"
#include "train/dataset.hpp"
#include "train/trainer.hpp"

namespace espalier::commands {

/// What a benchmark needs of a training run: grid, memory, initial weights, no data.
struct BenchJob {
  BenchJob(parallel::MpiSession& session, const config::Parameters& parameters);

  config::Parameters parameters;
  parallel::ProcessGrid grid;
  std::shared_ptr<device::Gpu> gpu;  ///< null: the host
  device::Context context;
  /// Of this rank while all ranks measure; before the memory below is taken, which is not counted
  /// in the plan.
  Peaks peaks;
  plan::JobMemory memory;
  parallel::GridCommunicators communicators;
  model::Transformer transformer;
};

/// A micro-batch of random tokens.
data::MicroBatch random_batch(const config::Parameters& parameters, int data_rank);

}  // namespace espalier::commands
