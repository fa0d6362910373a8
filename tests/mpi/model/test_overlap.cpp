// Weights that arrive while the forward pass runs, and gradients that leave during the backward
// pass, change no bit.
#include <algorithm>
#include <catch2/catch.hpp>
#include <limits>

#include "mpi/model/model_on_grid.hpp"

namespace espalier {
namespace {

using testing::Hdf5Fixture;
using testing::ModelOnGrid;

/// With the head dimension that CUDA's attention takes.
config::Parameters small_model(int tensor, int data, bool sequence_parallel) {
  config::Parameters p;
  p.model.vocab_size = 97;
  p.model.hidden_size = 64;
  p.model.intermediate_size = 96;
  p.model.num_hidden_layers = 3;
  p.model.num_attention_heads = 4;
  p.model.num_key_value_heads = 2;
  p.model.head_dim = 64;
  p.model.tie_word_embeddings = false;
  p.model.max_position_embeddings = 64;
  p.parallel.tensor = tensor;
  p.parallel.data = data;
  p.parallel.sequence_parallel = sequence_parallel;
  p.training.sequence_length = 32;
  p.training.micro_batch_size = 2 / data;
  p.training.global_batch_size = 2;
  p.training.loss_chunk_tokens = 24;  // across the tokens of two tensor ranks
  p.training.dtype = "bfloat16";
  return p;
}

}  // namespace

TEST_CASE("a pass waits for every bucket before it uses its weights") {
  if (testing::gpu_of_test() != nullptr) return;  // it writes into the weights itself
  const std::string name = GENERATE("tied_k1", "untied_k2", "gpt2");
  CAPTURE(name);
  const Hdf5Fixture fixture(testing::fixture_path(name));
  const int size = testing::session().size();
  ModelOnGrid model(fixture, testing::parameters_of(fixture, size, 1,
                                                    /*sequence_parallel=*/size > 1, 1, "float32"));
  const double loss = model.train(fixture.words("tokens"), 2);
  const double norm = model.gradient_norm();

  // Now no weight is there until its bucket is waited for.
  const std::vector<parallel::LocalTensor> tensors = model.memory.weights->local_tensors();
  std::vector<std::vector<float>> kept;
  for (const parallel::LocalTensor& tensor : tensors) {
    float* weights = tensor.weight.as<float>();
    kept.emplace_back(weights, weights + tensor.weight.size());
    std::fill_n(weights, tensor.weight.size(), std::numeric_limits<float>::quiet_NaN());
  }
  std::vector<int> order;
  std::vector<int> users(model.memory.weights->buckets().forward_order().size());
  const auto with_weights_of = [&](int bucket, auto&& body) {
    for (std::size_t i = 0; i < tensors.size(); ++i)
      if (tensors[i].bucket == bucket) body(tensors[i].weight.as<float>(), kept[i]);
  };
  model.stage.set_weight_use(
      [&](int bucket) {
        if (std::find(order.begin(), order.end(), bucket) == order.end()) order.push_back(bucket);
        if (users[static_cast<std::size_t>(bucket)]++ > 0) return;
        with_weights_of(bucket, [](float* to, const auto& values) {
          std::copy(values.begin(), values.end(), to);
        });
      },
      [&](int bucket) {
        if (--users[static_cast<std::size_t>(bucket)] > 0) return;
        with_weights_of(bucket, [](float* to, const auto& values) {
          std::fill_n(to, values.size(), std::numeric_limits<float>::quiet_NaN());
        });
      });
  CHECK(model.train(fixture.words("tokens"), 2) == loss);
  CHECK(model.gradient_norm() == norm);
  CHECK(order == model.memory.weights->buckets().forward_order());
}

TEST_CASE("an emulated GPU has the same bits with overlap and whatever is recomputed") {
  const int size = testing::session().size();
  std::vector<std::uint32_t> tokens;
  for (std::uint32_t i = 0; i < 2 * 33; ++i) tokens.push_back(i * i % 97);
  for (const auto& [tensor, sequence_parallel] : {std::pair(1, false), {2, false}, {2, true}}) {
    if (size % tensor != 0 || size / tensor > 2) continue;
    struct Way {
      bool overlap_data;
      const char* recompute;
      bool overlap_tensor = false;
      std::vector<double> results = {};  // loss and gradient norm of each step
    };
    std::vector<Way> ways = {{false, "none"}};
    if (tensor > 1 && !sequence_parallel)
      ways.push_back({false, "none", /*overlap_tensor=*/true});
    else
      for (const char* recompute : {"none", "selective", "full"}) ways.push_back({true, recompute});
    if (sequence_parallel)
      for (const char* recompute : {"none", "selective", "mlp", "full"})
        ways.push_back({true, recompute, /*overlap_tensor=*/true});
    for (Way& way : ways) {
      config::Parameters p = small_model(tensor, size / tensor, sequence_parallel);
      p.parallel.overlap_data = way.overlap_data;
      p.parallel.overlap_tensor = way.overlap_tensor;
      p.memory.recompute = way.recompute;
      ModelOnGrid model(p, device::Gpu::open(device::Backend::emulated, 0));
      model.stage.set_weight_use(*model.memory.parameter_store);
      const ModelOnGrid::Tokens share = model.share_of(tokens, 2);
      for (std::int64_t step = 1; step <= 3; ++step) {
        const train::StepResult result =
            model.step({.num_micro_batches = 1,
                        .num_targets = static_cast<std::uint64_t>(2 * p.training.sequence_length),
                        .load = [&](std::int64_t) { return share.view(); }},
                       step);
        way.results.push_back(result.loss);
        way.results.push_back(result.grad_norm);
      }
    }
    CAPTURE(tensor, sequence_parallel);
    CHECK(ways[0].results[4] < ways[0].results[0]);
    for (const Way& way : ways) {
      CAPTURE(way.overlap_data, way.recompute, way.overlap_tensor);
      CHECK(way.results == ways[0].results);
    }
  }
}

}  // namespace espalier
