// What the backward pass makes again instead of finding it has the same bits.
#include <catch2/catch.hpp>

#include "mpi/model/model_on_grid.hpp"

namespace espalier {
namespace {

using testing::Hdf5Fixture;
using testing::ModelOnGrid;

struct Outcome {
  std::vector<double> losses, norms;  // of each step
  std::vector<float> gradients;       // of the owned shards, after the last step
  std::vector<float> masters;
  bool operator==(const Outcome&) const = default;
};

void append_rows(device::Context& context, std::vector<float>& values, const device::View& rows) {
  const std::vector<float> more = context.download<float>(rows);
  values.insert(values.end(), more.begin(), more.end());
}

/// Three steps on the fixture's two sequences, a micro-batch each.
Outcome three_steps(const Hdf5Fixture& fixture, const config::Parameters& p, bool document_mask) {
  ModelOnGrid model(fixture, p);
  const ModelOnGrid::Tokens share = model.share_of(fixture.words("tokens"), 2);
  const std::int64_t length = p.training.sequence_length;
  std::vector<std::int32_t> places;  // documents of 5, 1, 11 and 7 tokens
  for (std::int32_t s = 0; s <= length; ++s)
    places.push_back(s < 5 ? s : s < 6 ? 0 : s < 17 ? s - 6 : s - 17);
  const auto micro_batch = [&](std::int64_t b) {
    model::Batch batch = share.view();
    batch.samples = batch.samples.row_range(b, 1);
    batch.num_counted = 1;
    batch.document_mask = document_mask;
    if (document_mask) batch.document_positions = device::view_of(places.data(), 1, length + 1);
    return batch;
  };
  Outcome outcome;
  for (std::int64_t step = 1; step <= 3; ++step) {
    const train::StepResult result = model.step(
        {.num_micro_batches = share.num_samples, .num_targets = 48, .load = micro_batch}, step);
    outcome.losses.push_back(result.loss);
    outcome.norms.push_back(result.grad_norm);
  }
  for (const optim::StateShard& state : model.memory.optimizer->state()) {
    const device::View& gradient = model.memory.parameter_store->tensor_of(state.shard).gradient;
    append_rows(
        model.context, outcome.gradients,
        gradient.row_range(state.shard.row_begin, state.shard.row_end - state.shard.row_begin));
    append_rows(model.context, outcome.masters, state.master);
  }
  return outcome;
}

}  // namespace

TEST_CASE("losses, gradients and weights have the same bits whatever is recomputed") {
  const std::string name = GENERATE("tied_k1", "untied_k2", "llama3", "gpt2");
  const std::string dtype = GENERATE("float32", "bfloat16");
  const bool document_mask = GENERATE(false, true);
  const Hdf5Fixture fixture(testing::fixture_path(name));
  const int size = testing::session().size();
  const bool on_gpu = testing::gpu_of_test() != nullptr;
  for (const int tensor : {1, 2, 4})
    for (const bool sequence_parallel : {false, true}) {
      // Of two ranks for the same heads: data, or of one model the tokens of each sequence.
      const bool context = name == "untied_k2" && tensor < size && !on_gpu;
      if (size % tensor != 0 || size / tensor > (context ? 4 : 2) ||
          (tensor == 1 && sequence_parallel))
        continue;
      CAPTURE(name, dtype, document_mask, tensor, sequence_parallel, context);
      config::Parameters p = testing::parameters_of(fixture, tensor, context ? 1 : size / tensor,
                                                    sequence_parallel, 1, dtype);
      if (context) p.parallel.context = size / tensor;
      p.training.micro_batch_size = 1;
      const Outcome kept = three_steps(fixture, p, document_mask);
      CHECK(kept.losses[2] < kept.losses[0]);
      for (const std::string mode : {"selective", "mlp", "full"}) {
        p.memory.recompute = mode;
        CAPTURE(mode);
        CHECK(three_steps(fixture, p, document_mask) == kept);
      }
      // Both blocks with a mode of their own: what memory.recompute = "budget" chooses from.
      p.memory.recompute = "budget";
      for (const std::vector<std::int64_t>& blocks :
           {std::vector<std::int64_t>{1, 1, 0, 0}, {1, 0, 0, 1}, {0, 1, 1, 0}, {0, 0, 1, 1}}) {
        REQUIRE(p.model.num_hidden_layers == 2);
        p.memory.recompute_blocks = blocks;
        CAPTURE(blocks);
        CHECK(three_steps(fixture, p, document_mask) == kept);
      }
    }
}

}  // namespace espalier
