#include "optim/adamw.hpp"

#include <catch2/catch.hpp>
#include <cmath>
#include <limits>
#include <vector>

#include "base/error.hpp"
#include "optim/gradient_norm.hpp"

using namespace espalier;
using device::Arena;
using device::view_of;
using optim::AdamW;
using optim::clip_scale;
using parallel::LocalTensor;
using parallel::ParameterStore;
using parallel::ProcessGrid;
using parallel::TensorSpec;

namespace {

/// A matrix with weight decay and a vector without, on one rank.
template <class T>
struct TwoTensors {
  TensorSpec matrix{.name = "matrix", .rows = 9, .cols = 13};
  TensorSpec vector{.name = "vector", .rows = 21, .is_vector = true, .weight_decay = false};
  std::vector<T> weights[2]{std::vector<T>(9 * 13), std::vector<T>(21)};
  std::vector<float> gradients[2]{std::vector<float>(9 * 13), std::vector<float>(21)};

  std::vector<LocalTensor> tensors() {
    return {{&matrix, view_of(weights[0].data(), 9, 13), view_of(gradients[0].data(), 9, 13), 1},
            {&vector, view_of(weights[1].data(), 21, 1), view_of(gradients[1].data(), 21, 1), 0}};
  }
};

float value(std::size_t tensor, std::size_t i, int step) {
  return static_cast<float>(
      std::sin(1.0 + 0.7 * static_cast<double>(i + 200 * tensor) + 1.3 * step));
}

/// torch.optim.AdamW, one element, in double.
struct Reference {
  double p, m = 0.0, v = 0.0;
  void step(double g, double lr, double decay, const config::OptimizerParameters& o, int t) {
    p -= lr * decay * p;
    m = o.beta1 * m + (1.0 - o.beta1) * g;
    v = o.beta2 * v + (1.0 - o.beta2) * g * g;
    p -= lr * (m / (1.0 - std::pow(o.beta1, t))) /
         (std::sqrt(v / (1.0 - std::pow(o.beta2, t))) + o.eps);
  }
};

template <class T>
void check_adamw(double weight_tolerance) {
  TwoTensors<T> model;
  Arena arena = Arena::backed("optimizer", 1 << 16);
  ParameterStore store(model.tensors(), ProcessGrid({}, 0), 1);
  AdamW optimizer(store, arena);
  device::Context context;
  const config::OptimizerParameters parameters{.learning_rate = 0.0,
                                               .beta1 = 0.9,
                                               .beta2 = 0.95,
                                               .eps = 1.0e-8,
                                               .weight_decay = 0.1,
                                               .max_grad_norm = 1.0};
  std::vector<std::vector<Reference>> reference(2);
  for (std::size_t k = 0; k < 2; ++k)
    for (std::size_t i = 0; i < model.weights[k].size(); ++i) {
      optimizer.state()[k].master.template as<float>()[i] = value(k, i, 0);
      reference[k].push_back({.p = value(k, i, 0)});
    }
  optimizer.weights_from_master(context);
  REQUIRE(static_cast<float>(model.weights[0][5]) ==
          static_cast<float>(static_cast<T>(value(0, 5, 0))));

  double worst = 0.0;
  for (int step = 1; step <= 20; ++step) {
    const double lr = 1.0e-2 * step;  // the schedule changes it from step to step
    const double scale = 0.5;
    for (std::size_t k = 0; k < 2; ++k)
      for (std::size_t i = 0; i < model.weights[k].size(); ++i)
        model.gradients[k][i] = value(k, i, step);
    std::vector<std::int64_t> overwritten;
    optimizer.update(context, parameters,
                     {.learning_rate = lr, .gradient_scale = scale, .step = step},
                     [&](std::int64_t i) { overwritten.push_back(i); });
    REQUIRE(overwritten == std::vector<std::int64_t>{0, 1});
    for (std::size_t k = 0; k < 2; ++k)
      for (std::size_t i = 0; i < model.weights[k].size(); ++i) {
        Reference& r = reference[k][i];
        r.step(scale * value(k, i, step), lr, k == 0 ? 0.1 : 0.0, parameters, step);
        const float master = optimizer.state()[k].master.template as<float>()[i];
        worst = std::max(worst, std::abs(master - r.p));
        REQUIRE(static_cast<float>(model.weights[k][i]) ==
                static_cast<float>(static_cast<T>(master)));
        REQUIRE(static_cast<double>(static_cast<float>(model.weights[k][i])) ==
                Approx(r.p).epsilon(weight_tolerance).margin(1e-5));
      }
  }
  // 20 updates of at most 0.2 each, rounded to fp32.
  CAPTURE(worst);
  REQUIRE(worst < 3.0e-6);
}

}  // namespace

TEST_CASE("AdamW follows torch's formula, with decay only where the table says so") {
  SECTION("fp32 weights") {
    check_adamw<float>(1.0e-5);
  }
  SECTION("bf16 weights") {
    check_adamw<bf16>(4.0e-3);
  }
}

TEST_CASE("the first step of AdamW is the learning rate times the sign") {
  // torch.optim.AdamW([1.0], lr=1e-3, betas=(0.9, 0.999), weight_decay=1e-2), gradient 0.5:
  // 1 * (1 - 1e-5) - 1e-3 = 0.99899.
  TwoTensors<float> model;
  Arena arena = Arena::backed("optimizer", 1 << 16);
  ParameterStore store(model.tensors(), ProcessGrid({}, 0), 1);
  AdamW optimizer(store, arena);
  device::Context context;
  optimizer.state()[0].master.as<float>()[0] = 1.0F;
  model.gradients[0][0] = 0.5F;
  optimizer.update(context, {.beta1 = 0.9, .beta2 = 0.999, .eps = 1.0e-8, .weight_decay = 1.0e-2},
                   {.learning_rate = 1.0e-3, .gradient_scale = 1.0, .step = 1}, nullptr);
  REQUIRE(model.weights[0][0] == Approx(0.99899).epsilon(1.0e-7));
}

TEST_CASE("the state lies in the arena under its tensor's name") {
  TwoTensors<bf16> model;
  Arena planning = Arena::planning("optimizer");
  ParameterStore store(model.tensors(), ProcessGrid({}, 0), 1);
  REQUIRE(store.num_buckets() == 2);
  const AdamW planned(store, planning);
  Arena arena = Arena::backed("optimizer", planning.used_bytes());
  AdamW optimizer(store, arena);
  REQUIRE(arena.used_bytes() == planning.used_bytes());
  const auto& allocations = arena.allocations();
  REQUIRE(allocations.size() == 6);  // master and moments of two shards
  REQUIRE(allocations[0].label == "master matrix");
  REQUIRE(allocations[0].size_bytes == 9 * 13 * 4);
  REQUIRE(allocations[5].label == "moment 2 vector");
  REQUIRE(optimizer.state()[1].master.rows == 21);
  REQUIRE(optimizer.state()[1].master.cols == 1);
  REQUIRE(optimizer.state()[1].shard.tensor == 1);
}

TEST_CASE("the sums of squares are those of every tensor, and their sum that of all") {
  TwoTensors<bf16> model;
  Arena arena = Arena::backed("optimizer", 1 << 16);
  ParameterStore store(model.tensors(), ProcessGrid({}, 0), 0);
  optim::GradientNorm norm(store, arena);
  device::Context context;
  double expected[2]{};
  for (std::size_t k = 0; k < 2; ++k)
    for (std::size_t i = 0; i < model.gradients[k].size(); ++i) {
      model.gradients[k][i] = value(k, i, 3);
      expected[k] += static_cast<double>(value(k, i, 3)) * value(k, i, 3);
    }
  const std::span<const double> sums = norm.square_sums(context);
  REQUIRE(sums.size() == 2);
  REQUIRE(sums[0] == Approx(expected[0]).epsilon(1.0e-6));
  REQUIRE(sums[1] == Approx(expected[1]).epsilon(1.0e-6));
  REQUIRE(optim::squared_norm(sums) == sums[0] + sums[1]);
}

TEST_CASE("clipping scales down to the largest norm and never up") {
  REQUIRE(clip_scale(4.0, 1.0) == 0.25);
  REQUIRE(clip_scale(0.5, 1.0) == 1.0);
  REQUIRE(clip_scale(1.0, 1.0) == 1.0);
  REQUIRE(clip_scale(0.0, 1.0) == 1.0);
  REQUIRE(clip_scale(4.0, 0.0) == 1.0);
  REQUIRE(std::isnan(clip_scale(std::numeric_limits<double>::quiet_NaN(), 1.0)));
}
