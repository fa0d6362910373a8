// The model on every grid against Hugging Face transformers (fixtures: tests/fixtures/model).
#include <catch2/catch.hpp>

#include <cmath>

#include "mpi/model/model_on_grid.hpp"
#include "optim/schedule.hpp"

namespace espalier {
namespace {

using testing::fixture_path;
using testing::Hdf5Fixture;
using testing::ModelOnGrid;

const std::vector<std::string> kFixtures = {"tied_k1",   "tied_k2", "untied_k1",
                                            "untied_k2", "mha",     "no_qk_norm",
                                            "llama3",    "llama2",  "gpt2"};

struct Layout {
  int tensor, data;
  bool sequence_parallel;
  int zero_stage;
  bool overlap_tensor;
  int context = 1;
};

/// Every way to lay a batch of two sequences on all ranks.
std::vector<Layout> layouts() {
  std::vector<Layout> result;
  const int size = testing::session().size();
  for (const int tensor : {1, 2, 4})
    for (const bool sequence_parallel : {false, true})
      for (const int zero_stage : {0, 1})
        for (const bool overlap : {false, true})
          if (size % tensor == 0 && size / tensor <= 2 &&
              (tensor > 1 || (!sequence_parallel && !overlap)) &&
              (size / tensor > 1 || zero_stage == 1) && (zero_stage == 1 || !overlap))
            result.push_back({tensor, size / tensor, sequence_parallel, zero_stage, overlap});
  if (testing::gpu_of_test() != nullptr) return result;  // a GPU has no blocks of so few tokens
  if (size == 2) result.push_back({1, 1, false, 1, false, 2});
  if (size != 4) return result;
  result.push_back({1, 1, false, 1, false, 4});
  result.push_back({1, 2, false, 0, false, 2});
  result.push_back({2, 1, false, 1, false, 2});
  result.push_back({2, 1, true, 1, true, 2});
  return result;
}

config::Parameters parameters_of(const Hdf5Fixture& fixture, const Layout& l) {
  config::Parameters p = testing::parameters_of(fixture, l.tensor, l.data, l.sequence_parallel,
                                                l.zero_stage, "float32");
  p.parallel.overlap_tensor = l.overlap_tensor;
  p.parallel.context = l.context;
  p.parallel.context_kv_heads = l.sequence_parallel ? 0 : 1;  // one after the other, or all at once
  return p;
}

}  // namespace

TEST_CASE("logits, loss and every gradient agree with transformers in fp32") {
  const auto name = GENERATE(from_range(kFixtures));
  const Hdf5Fixture fixture(fixture_path(name));
  for (const Layout& l : layouts()) {
    CAPTURE(name, l.tensor, l.data, l.sequence_parallel, l.zero_stage, l.overlap_tensor, l.context);
    ModelOnGrid model(fixture, parameters_of(fixture, l));
    CHECK(model.logits_error(fixture) < 1e-5);
    const double loss = model.train(fixture.words("tokens"), 2);
    CHECK(loss == Approx(fixture.doubles("loss")[0]).epsilon(1e-6));
    CHECK(model.gradient_error(fixture) < 1e-5);
    CHECK(model.gradient_norm() == Approx(fixture.doubles("grad_norm")[0]).epsilon(1e-6));
  }
}

TEST_CASE("scaled RoPE: logits, loss and gradients above the original length agree") {
  const auto name = GENERATE(as<std::string>{}, "linear", "dynamic", "yarn");
  const Hdf5Fixture fixture(fixture_path(name));
  const Layout l{testing::session().size(), 1, testing::session().size() > 1, 1, false};
  CAPTURE(name, l.tensor);
  ModelOnGrid model(fixture, parameters_of(fixture, l));
  if (l.tensor == 1) CHECK(1e12 * model.divergence(fixture) < 1.0);
  CHECK(model.logits_error(fixture) < 1e-5);
  CHECK(model.train(fixture.words("tokens"), 2) ==
        Approx(fixture.doubles("loss")[0]).epsilon(1e-6));
  CHECK(model.gradient_error(fixture) < 1e-5);
}

TEST_CASE("logits, loss and gradients agree wherever the loss is cut into chunks") {
  const Hdf5Fixture fixture(fixture_path("untied_k2"));
  // Within an owner's tokens, across owners, all of a rank's, all.
  const std::int64_t chunk_tokens = GENERATE(5, 17, 24, 48);
  for (const Layout& l : layouts()) {
    if (!l.overlap_tensor) continue;
    CAPTURE(chunk_tokens, l.tensor, l.data, l.sequence_parallel);
    config::Parameters p = parameters_of(fixture, l);
    p.training.loss_chunk_tokens = chunk_tokens;
    ModelOnGrid model(fixture, p);
    CHECK(model.logits_error(fixture) < 1e-5);
    CHECK(model.train(fixture.words("tokens"), 2) ==
          Approx(fixture.doubles("loss")[0]).epsilon(1e-6));
    CHECK(model.gradient_error(fixture) < 1e-5);
  }
}

TEST_CASE("a second micro-batch is added to the gradients of the first") {
  const Hdf5Fixture fixture(fixture_path("untied_k2"));
  if (testing::session().size() != 1) return;
  config::Parameters p = testing::parameters_of(fixture, 1, 1, false, 1, "float32");
  p.training.micro_batch_size = 1;
  ModelOnGrid model(fixture, p);
  const std::vector<std::uint32_t> tokens = fixture.words("tokens");
  for (const int b : {0, 1})
    model.stage.train(
        {.samples = device::view_of(tokens.data() + b * 25, 1, 25), .num_counted = 1},
        {.loss_scale = 1.0F / 48.0F, .first = b == 0, .last = b == 1, .bucket_done = [](int) {}});
  CHECK(model.gradient_error(fixture) < 1e-5);
}

// Tolerances: the README of the fixtures.
TEST_CASE("twelve AdamW steps follow torch's curve") {
  const auto name = GENERATE(from_range(kFixtures));
  const Hdf5Fixture fixture(fixture_path(name));
  const std::vector<double> losses = fixture.doubles("curve/loss");
  const std::vector<double> norms = fixture.doubles("curve/grad_norm");
  const std::vector<double> rates = fixture.doubles("curve/learning_rate");
  const std::vector<std::uint32_t> stream = fixture.words("curve/stream");
  for (const Layout& l : layouts()) {
    CAPTURE(name, l.tensor, l.data, l.sequence_parallel, l.zero_stage, l.overlap_tensor, l.context);
    config::Parameters p = parameters_of(fixture, l);
    p.optimizer = {.learning_rate = fixture.attribute("curve", "learning_rate"),
                   .beta1 = fixture.attribute("curve", "beta1"),
                   .beta2 = fixture.attribute("curve", "beta2"),
                   .eps = fixture.attribute("curve", "eps"),
                   .weight_decay = fixture.attribute("curve", "weight_decay"),
                   .max_grad_norm = fixture.attribute("curve", "max_grad_norm")};
    ModelOnGrid model(fixture, p);
    for (std::size_t step = 1; step <= losses.size(); ++step) {
      std::vector<std::uint32_t> tokens;
      for (std::size_t sample = 2 * (step - 1); sample < 2 * step; ++sample)
        for (std::size_t s = 0; s <= 24; ++s) tokens.push_back(stream[24 * sample + s]);
      CHECK(model.train(tokens, 2) == Approx(losses[step - 1]).epsilon(1e-5));
      const double norm = model.gradient_norm();
      CHECK(norm == Approx(norms[step - 1]).epsilon(1e-4));
      model.memory.optimizer->update(
          model.context, p.optimizer,
          {.learning_rate = rates[step - 1],
           .gradient_scale = optim::clip_scale(norm, p.optimizer.max_grad_norm),
           .step = static_cast<std::int64_t>(step)},
          [](std::int64_t) {});
      model.memory.parameter_store->gather(model.context);
    }
  }
}

TEST_CASE("fp32 logits diverge from transformers' by no more than rounding") {
  if (testing::session().size() != 1) return;
  const auto name = GENERATE(from_range(kFixtures));
  CAPTURE(name);
  const Hdf5Fixture fixture(fixture_path(name));
  ModelOnGrid model(fixture, testing::parameters_of(fixture, 1, 1, false, 1, "float32"));
  CHECK(1e12 * model.divergence(fixture) < 1.0);
}

TEST_CASE("bf16 logits are as near to fp32 as transformers' own bf16 run") {
  if (testing::session().size() != 1) return;
  const auto name = GENERATE(from_range(kFixtures));
  const Hdf5Fixture fixture(fixture_path(name));
  ModelOnGrid model(fixture, testing::parameters_of(fixture, 1, 1, false, 1, "bfloat16"));
  CAPTURE(name);
  // Another order of rounding is as good as theirs: within twice theirs.
  CHECK(model.divergence(fixture) < 2.0 * fixture.doubles("bf16/kl")[0]);
}

}  // namespace espalier
