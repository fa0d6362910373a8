// Whatever is recomputed, put off or laid out otherwise, blocks with experts compute the same; and
// the losses that keep them balanced have the gradients that differences have.
#include <catch2/catch.hpp>

#include <cmath>
#include <numeric>

#include "mpi/model/model_on_grid.hpp"

namespace espalier {
namespace {

using testing::fixture_path;
using testing::Hdf5Fixture;
using testing::ModelOnGrid;

config::Parameters parameters(const Hdf5Fixture& fixture, int expert, const std::string& dtype) {
  const int size = testing::session().size();
  const int tensor = size == 4 ? 2 : 1;
  config::Parameters p =
      testing::parameters_of(fixture, tensor, size / tensor, tensor > 1, 1, dtype);
  p.parallel.expert = expert;
  p.training.micro_batch_size = 1;
  return p;
}

struct Outcome {
  std::vector<double> losses, norms;
  std::vector<float> masters, bias;
  bool operator==(const Outcome&) const = default;
};

/// Three steps on two micro-batches.
Outcome three_steps(const Hdf5Fixture& fixture, const config::Parameters& p) {
  ModelOnGrid model(fixture, p);
  const std::vector<std::uint32_t> tokens = fixture.words("tokens");
  Outcome outcome;
  for (std::int64_t step = 1; step <= 3; ++step) {
    const train::StepResult result = model.step(
        {.num_micro_batches = 2,
         .num_targets = static_cast<std::uint64_t>(48 * p.parallel.data),
         .num_sequences = 2 * p.parallel.data,
         .load =
             [&](std::int64_t micro) {
               return model::Batch{.samples = device::view_of(tokens.data() + micro * 25, 1, 25),
                                   .num_counted = 1};
             }},
        step);
    outcome.losses.push_back(result.loss);
    outcome.norms.push_back(result.grad_norm);
  }
  for (const optim::StateShard& state : model.memory.optimizer->state()) {
    const std::vector<float> more = model.context.download<float>(state.master);
    outcome.masters.insert(outcome.masters.end(), more.begin(), more.end());
  }
  if (model.memory.expert_bias) {
    const auto values = model.memory.expert_bias->values();
    outcome.bias.assign(values.begin(), values.end());
  }
  return outcome;
}

}  // namespace

TEST_CASE("experts: the same bits whatever is recomputed, with and without rounds") {
  if (testing::gpu_of_test() != nullptr) return;
  const std::string name = GENERATE("moe", "moe_mixed");
  const std::string dtype = GENERATE("float32", "bfloat16");
  const Hdf5Fixture fixture(fixture_path(name));
  for (const int expert : {1, 2}) {
    if (testing::session().size() % expert != 0) continue;
    for (const double capacity : {2.0, 0.4}) {
      config::Parameters p = parameters(fixture, expert, dtype);
      p.experts.balance = "sequence";
      p.model.router_aux_loss_coef = 0.01;
      p.experts.capacity_factor = capacity;
      const Outcome kept = three_steps(fixture, p);
      CHECK(kept.losses[2] < kept.losses[0]);
      for (const std::string mode : {"selective", "mlp", "full", "budget"}) {
        p.memory.recompute = mode;
        p.memory.recompute_blocks.clear();
        if (mode == "budget") p.memory.recompute_blocks = {1, 0, 0, 1};
        CAPTURE(name, dtype, expert, capacity, mode);
        CHECK(three_steps(fixture, p) == kept);
      }
    }
  }
}

TEST_CASE("experts: gradients of weights that are computed later have the same bits") {
  if (testing::gpu_of_test() != nullptr) return;
  const std::string name = GENERATE("moe", "moe_mixed");
  const Hdf5Fixture fixture(fixture_path(name));
  const std::vector<std::uint32_t> tokens = fixture.words("tokens");
  const auto batch = [&](int number) {
    return model::Batch{.samples = device::view_of(tokens.data() + number * 25, 1, 25),
                        .num_counted = 1};
  };
  const auto pass = [](int number) {
    return model::Stage::BackwardPass{.loss_scale = 1.0F / 48.0F,
                                      .first = number == 0,
                                      .last = number == 1,
                                      .bucket_done = [](int) {},
                                      .num_sequences = 2.0};
  };
  const auto gradients = [](ModelOnGrid& model) {
    std::vector<std::vector<float>> all;
    for (const parallel::LocalTensor& tensor : model.memory.parameter_store->tensors())
      all.push_back(model.context.download<float>(tensor.gradient));
    return all;
  };
  for (const int expert : {1, 2}) {
    if (testing::session().size() % expert != 0) continue;
    for (const std::string mode : {"none", "selective", "mlp", "full"})
      for (const double capacity : {2.0, 0.4}) {
        config::Parameters p = parameters(fixture, expert, "float32");
        p.experts.balance = "sequence";
        p.memory.recompute = mode;
        p.experts.capacity_factor = capacity;
        CAPTURE(name, expert, mode, capacity);
        ModelOnGrid plain(fixture, p), later(fixture, p);
        for (const int number : {0, 1}) plain.stage.train(batch(number), pass(number));
        model::ActivationShape shape = later.memory.activations->shape;
        shape.num_slots = 2;
        shape.num_weight_slots = 2;
        device::Arena plan = device::Arena::planning("activations");
        const model::Activations planned(later.memory.weights->sizes(), shape, DType::f32, plan);
        device::Arena arena = device::Arena::backed("activations", plan.used_bytes());
        model::Activations activations(later.memory.weights->sizes(), shape, DType::f32, arena);
        model::Stage stage(later.memory.architecture, *later.memory.weights, activations,
                           later.context, later.communicators);
        for (const int slot : {0, 1}) {
          stage.load(slot, batch(slot));
          stage.forward(slot);
        }
        for (const int slot : {0, 1}) stage.backward_inputs(slot, slot, pass(slot));
        for (const int slot : {0, 1}) stage.backward_weights(slot, slot, pass(slot));
        CHECK(gradients(later) == gradients(plain));
      }
  }
}

TEST_CASE("experts: each balance loss has the gradient of its differences") {
  if (testing::session().size() != 1 || testing::gpu_of_test() != nullptr) return;
  const Hdf5Fixture fixture(fixture_path("moe"));
  for (const char* balance : {"sequence", "batch", "global", "huggingface", "none"}) {
    config::Parameters p = testing::parameters_of(fixture, 1, 1, false, 1, "float32");
    p.experts.balance = balance;
    p.experts.balance_coefficient = 3.0;
    p.experts.z_loss_coefficient = balance == std::string("none") ? 0.5 : 0.0;
    ModelOnGrid model(fixture, p);
    const std::vector<std::uint32_t> tokens = fixture.words("tokens");
    const auto loss = [&] {  // of balance and size alone
      model.stage.train({.samples = device::view_of(tokens.data(), 2, 25), .num_counted = 2},
                        {.loss_scale = 0.0F,
                         .first = true,
                         .last = true,
                         .bucket_done = [](int) {},
                         .num_sequences = 2.0});
      model.stage.take_loss_sum();
      const model::ExpertStatistics statistics = model.stage.take_expert_statistics();
      return statistics.balance_loss() + statistics.z_loss();
    };
    CAPTURE(balance);
    loss();
    CHECK(model.gradient_norm() > 0.0);
    for (const std::size_t block : {0U, 1U}) {
      const device::View router = model.memory.weights->weights.blocks[block].router;
      const std::vector<float> gradient =
          model.context.download<float>(model.memory.weights->gradients.blocks[block].router);
      const double square =
          std::inner_product(gradient.begin(), gradient.end(), gradient.begin(), 0.0);
      REQUIRE(square > 0.0);
      // Along the gradient, so little that no choice changes.
      const double step = 2e-4 / std::sqrt(square);
      const auto at = [&](double side) {
        for (std::size_t i = 0; i < gradient.size(); ++i)
          router.as<float>()[i] += static_cast<float>(side * step * double{gradient[i]});
        return loss();
      };
      const std::vector<float> before = model.context.download<float>(router);
      const double above = at(1.0);
      model.context.upload(router, before.data());
      const double below = at(-1.0);
      model.context.upload(router, before.data());
      CAPTURE(block);
      CHECK((above - below) / (2.0 * step) == Approx(square).epsilon(0.01));
    }
  }
}

TEST_CASE("experts: an even load has the balance loss 1 for each block, and a bias evens it out") {
  if (testing::gpu_of_test() != nullptr) return;
  const Hdf5Fixture fixture(fixture_path("moe"));
  const int size = testing::session().size();
  for (const char* balance : {"sequence", "batch", "global"}) {
    config::Parameters p = parameters(fixture, size % 2 == 0 ? 2 : 1, "float32");
    p.training.micro_batch_size = 2 / p.parallel.data;
    p.model.num_experts_per_tok = p.model.num_experts;  // as even as can be
    p.experts.balance = balance;
    p.experts.balance_coefficient = 0.5;
    ModelOnGrid model(p, nullptr);
    model.train(fixture.words("tokens"), 2);
    CAPTURE(balance);
    CHECK(model.expert_statistics.balance_loss() == Approx(0.5 * 2).epsilon(1e-6));
  }
  for (const char* update : {"deepseek", "torchtitan"}) {
    config::Parameters p = parameters(fixture, size % 2 == 0 ? 2 : 1, "float32");
    p.experts.balance = "bias";
    p.experts.bias_update = update;
    p.experts.bias_update_rate = 0.01;
    const Outcome outcome = three_steps(fixture, p);
    REQUIRE(outcome.bias.size() == 16U);
    CAPTURE(update);
    double sum = 0.0, most = 0.0;
    for (const float b : outcome.bias) {
      sum += double{b};
      most = std::max(most, std::abs(double{b}));
    }
    CHECK(most > 0.009);
    CHECK(most < 0.07);
    if (update == std::string("torchtitan")) CHECK(std::abs(sum) < 1e-6);
    CHECK(three_steps(fixture, p) == outcome);
  }
}

}  // namespace espalier
