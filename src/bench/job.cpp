#include "bench/job.hpp"

#include <algorithm>

#include "base/error.hpp"
#include "base/random.hpp"
#include "train/initial_weights.hpp"

namespace espalier::bench {
namespace {

Peaks measure_peaks(parallel::MpiSession& session, train::RankContext& rank_context,
                    const config::Parameters& p) {
  Peaks peaks;
  peaks.flops = train::measure_gemm_peak(session, rank_context, p, 1.0);
  session.world().barrier();
  peaks.bytes = measure_copy_peak(rank_context.context);
  return peaks;
}

}  // namespace

BenchJob::BenchJob(parallel::MpiSession& session, const config::Parameters& p)
    : parameters(p),
      rank_context(session, p),
      peaks(measure_peaks(session, rank_context, p)),
      model(session, p, rank_context) {
  randomize_weights();
}

BenchJob::BenchJob(parallel::MpiSession& session, const config::Parameters& p, const Peaks& known)
    : parameters(p), rank_context(session, p), peaks(known), model(session, p, rank_context) {
  randomize_weights();
}

void BenchJob::randomize_weights() {
  optim::AdamW& optimizer = *model.memory.optimizer;
  train::randomize_masters(rank_context.context, model.memory.architecture,
                           parameters.training.seed, optimizer);
  optimizer.weights_from_master(rank_context.context);
  model.memory.parameter_store->gather(rank_context.context);
}

config::Parameters with_one_block(config::Parameters parameters) {
  require(parameters.parallel.pipeline == 1, ExitStatus::bad_configuration,
          "parallel.pipeline = {}: operators are timed in one block, which is not divided over "
          "stages; set parallel.pipeline = 1",
          parameters.parallel.pipeline);
  require(parameters.parallel.context == 1, ExitStatus::bad_configuration,
          "parallel.context = {}: operators are timed on whole sequences; set parallel.context = 1",
          parameters.parallel.context);
  parameters.model.num_hidden_layers = 1;
  parameters.model.decoder_sparse_step = 1;  // a block with experts, where the model has some
  parameters.model.mlp_only_layers.clear();
  return parameters;
}

data::MicroBatch random_batch(const config::Parameters& p, int data_rank) {
  const RandomStream stream(static_cast<std::uint64_t>(p.training.seed), "bench tokens");
  const std::int64_t samples = p.training.micro_batch_size;
  const std::int64_t tokens = samples * (p.training.sequence_length + 1);
  data::MicroBatch batch{
      .samples = {}, .document_positions = {}, .num_samples = samples, .num_counted = samples};
  for (std::int64_t i = 0; i < tokens; ++i) {
    const auto index = static_cast<std::uint64_t>(data_rank * tokens + i);
    const auto vocabulary = static_cast<std::uint64_t>(p.model.vocab_size);
    batch.samples.push_back(static_cast<std::uint32_t>(stream.bits(index) % vocabulary));
  }
  if (p.data.document_mask) {
    const std::int64_t length = p.training.sequence_length + 1;
    const std::int64_t document =
        p.bench.document_tokens > 0 ? std::min(p.bench.document_tokens, length) : length;
    batch.documents = {.mask = true, .predict_across = p.data.predict_across_documents};
    for (std::int64_t i = 0; i < tokens; ++i)
      batch.document_positions.push_back(static_cast<std::int32_t>(i % length % document));
  }
  return batch;
}

}  // namespace espalier::bench
