#pragma once
#include "bench/roofline.hpp"
#include "config/parameters.hpp"
#include "data/batch.hpp"
#include "parallel/comm/session.hpp"
#include "train/dataset.hpp"
#include "train/distributed_model.hpp"

namespace espalier::bench {

/// What a benchmark needs of a training run: grid, memory, initial weights, no data.
struct BenchJob {
  BenchJob(parallel::MpiSession& session, const config::Parameters& parameters);
  /// With peaks that are known, or that nobody asks for.
  BenchJob(parallel::MpiSession& session, const config::Parameters& parameters, const Peaks& peaks);

  config::Parameters parameters;
  train::RankContext rank_context;
  /// Of this rank while all ranks measure; before the memory below is taken, which is not counted
  /// in the plan.
  Peaks peaks;
  train::DistributedModel model;
  train::PassClock pass_clock;  ///< of a pipeline of hosts: the fastest step that counts

 private:
  void randomize_weights();
};

/// `parameters` with one block: for operators alone that is enough, because blocks are alike, and
/// the others' memory is not needed.
config::Parameters with_one_block(config::Parameters parameters);

/// A micro-batch of random tokens; with data.document_mask of documents of bench.document_tokens.
data::MicroBatch random_batch(const config::Parameters& parameters, int data_rank);

}  // namespace espalier::bench
