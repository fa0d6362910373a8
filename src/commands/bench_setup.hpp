#pragma once
#include "commands/roofline.hpp"
#include "config/parameters.hpp"
#include "data/batch.hpp"
#include "parallel/session.hpp"
#include "train/dataset.hpp"
#include "train/distributed_model.hpp"

namespace espalier::commands {

/// What a benchmark needs of a training run: grid, memory, initial weights, no data.
struct BenchJob {
  BenchJob(parallel::MpiSession& session, const config::Parameters& parameters);

  config::Parameters parameters;
  train::Worker worker;
  /// Of this rank while all ranks measure; before the memory below is taken, which is not counted
  /// in the plan.
  Peaks peaks;
  train::DistributedModel model;
};

/// A micro-batch of random tokens.
data::MicroBatch random_batch(const config::Parameters& parameters, int data_rank);

}  // namespace espalier::commands
