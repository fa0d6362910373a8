// Blocks with experts on every grid against Hugging Face transformers (fixtures:
// tests/fixtures/model), and against themselves in rounds.
#include <catch2/catch.hpp>

#include <cmath>

#include "kernels/elementwise.hpp"
#include "mpi/model/model_on_grid.hpp"
#include "support/forwarding_gpu.hpp"

namespace espalier {
namespace {

using testing::fixture_path;
using testing::Hdf5Fixture;
using testing::ModelOnGrid;

/// Every way to lay two sequences and the experts on all ranks.
std::vector<config::Parameters> layouts(const Hdf5Fixture& fixture,
                                        const std::string& dtype = "float32") {
  std::vector<config::Parameters> all;
  const int size = testing::session().size();
  for (const int tensor : {1, 2, 4})
    for (const int expert : {1, 2, 4}) {
      if (size % tensor != 0 || size / tensor > 2 || size % expert != 0) continue;
      config::Parameters p =
          testing::parameters_of(fixture, tensor, size / tensor, tensor > 1, 1, dtype);
      p.parallel.expert = expert;
      all.push_back(p);
    }
  if (size == 1 || testing::gpu_of_test() != nullptr) return all;
  for (const int tensor : {1, 2}) {
    if (size / tensor < 2) continue;
    config::Parameters p = testing::parameters_of(fixture, tensor, 1, tensor > 1, 1, dtype);
    p.parallel.context = size / tensor;
    p.parallel.expert = 2;
    all.push_back(p);
  }
  return all;
}

void capture(const config::Parameters& p) {
  UNSCOPED_INFO("tensor " << p.parallel.tensor << ", context " << p.parallel.context << ", data "
                          << p.parallel.data << ", expert " << p.parallel.expert << ", capacity "
                          << p.experts.capacity_factor << ", recompute " << p.memory.recompute);
}

std::vector<float> gradients_of(ModelOnGrid& model) {
  std::vector<float> all;
  for (const optim::StateShard& state : model.memory.optimizer->state()) {
    const std::vector<float> more = model.context.download<float>(
        model.memory.parameter_store->tensor_of(state.shard)
            .gradient.row_range(state.shard.row_begin,
                                state.shard.row_end - state.shard.row_begin));
    all.insert(all.end(), more.begin(), more.end());
  }
  return all;
}

/// Writes down the copies between device and host, in order.
class CopyingGpu : public testing::ForwardingGpu {
 public:
  struct Copy {
    bool to_host;
    std::int64_t bytes;
  };
  void copy_to_device(void* to, const void* from, const Rectangle& r,
                      device::Stream stream) override {
    copies.push_back({false, r.rows * r.row_bytes});
    ForwardingGpu::copy_to_device(to, from, r, stream);
  }
  void copy_to_host(void* to, const void* from, const Rectangle& r,
                    device::Stream stream) override {
    copies.push_back({true, r.rows * r.row_bytes});
    ForwardingGpu::copy_to_host(to, from, r, stream);
  }
  std::vector<Copy> copies;
};

}  // namespace

TEST_CASE("experts: logits, loss and every gradient agree with transformers on every grid") {
  const std::string name = GENERATE("moe", "moe_mixed");
  const Hdf5Fixture fixture(fixture_path(name));
  for (config::Parameters p : layouts(fixture))
    for (const double capacity : {2.0, 0.3}) {
      p.experts.capacity_factor = capacity;  // the second needs rounds
      INFO(name);
      capture(p);
      ModelOnGrid model(fixture, p);
      CHECK(model.logits_error(fixture) < 1e-5);
      const double loss = model.train(fixture.words("tokens"), 2);
      CHECK(loss == Approx(fixture.doubles("loss")[0]).epsilon(1e-6));
      CHECK(model.gradient_error(fixture) < 1e-5);
      CHECK(model.gradient_norm() == Approx(fixture.doubles("grad_norm")[0]).epsilon(1e-6));
      CHECK((model.expert_statistics.further_rounds > 0.0) == (capacity < 1.0));
      double pairs = 0.0;
      for (const double choices : model.expert_statistics.choices) pairs += choices;
      const std::int64_t sparse = model.memory.architecture.num_sparse_layers();
      CHECK(pairs == static_cast<double>(2 * 24 * p.model.num_experts_per_tok * sparse));
    }
}

TEST_CASE("experts: the balance loss of transformers and its gradients") {
  const Hdf5Fixture fixture(fixture_path("moe_balance"));
  for (const config::Parameters& p : layouts(fixture)) {
    if (p.parallel.data > 1) continue;  // there it is that of each rank's sequences
    capture(p);
    ModelOnGrid model(fixture, p);
    CHECK(model.train(fixture.words("tokens"), 2) ==
          Approx(fixture.doubles("loss")[0]).epsilon(1e-6));
    CHECK(model.expert_statistics.balance_loss() / p.model.router_aux_loss_coef ==
          Approx(fixture.doubles("balance_loss")[0]).epsilon(1e-6));
    CHECK(model.gradient_error(fixture) < 1e-5);
  }
}

TEST_CASE("experts: no row has other bits in rounds, and weights' gradients differ by rounding") {
  if (testing::gpu_of_test() != nullptr) return;
  const Hdf5Fixture fixture(fixture_path("moe"));
  for (config::Parameters p : layouts(fixture)) {
    p.experts.capacity_factor = 65536.0;
    ModelOnGrid at_once(fixture, p);
    const double loss = at_once.train(fixture.words("tokens"), 2);
    const std::vector<float> expected = gradients_of(at_once);
    double largest = 0.0;
    for (const float value : expected) largest = std::max(largest, std::abs(double{value}));
    for (const double capacity : {1.0, 0.5, 0.125}) {
      p.experts.capacity_factor = capacity;
      capture(p);
      ModelOnGrid in_rounds(fixture, p);
      CHECK(in_rounds.train(fixture.words("tokens"), 2) == loss);
      const std::vector<float> gradients = gradients_of(in_rounds);
      double difference = 0.0;
      for (std::size_t i = 0; i < expected.size(); ++i)
        difference = std::max(difference, std::abs(double{gradients[i]} - double{expected[i]}));
      CHECK(difference <= 3e-6 * largest);
    }
  }
}

TEST_CASE("experts: all of a token's, all of the tokens on a few, and a rank without any") {
  const int size = testing::session().size();
  for (const char* kind : {"all of them", "few", "one each"}) {
    const Hdf5Fixture fixture(fixture_path("moe"));
    config::Parameters p = testing::parameters_of(fixture, 1, 1, false, 1, "float32");
    if (size > 2) continue;
    p.parallel.data = size;
    p.training.micro_batch_size = 2 / size;
    p.parallel.expert = size;
    if (kind == std::string("all of them")) p.model.num_experts_per_tok = p.model.num_experts;
    if (kind == std::string("one each"))
      p.model.num_experts = size, p.model.num_experts_per_tok = 1;
    p.experts.capacity_factor = kind == std::string("few") ? 0.5 : 2.0;
    capture(p);
    ModelOnGrid model(p, testing::gpu_of_test());
    if (kind == std::string("few"))  // the same choice for every token: the lowest of equals
      for (const model::BlockTensors& block : model.memory.weights->weights.blocks)
        kernels::set_zero(model.context, block.router);
    const std::vector<std::uint32_t> tokens = fixture.words("tokens");
    const double loss = model.train(tokens, 2);
    CHECK(std::isfinite(loss));
    CHECK(std::isfinite(model.gradient_norm()));
    if (kind != std::string("few")) continue;
    const auto load = model::ExpertLoad::of(model.expert_statistics, model.memory.architecture);
    CHECK(load.busiest().largest == 4.0);  // 2 of 8 have all
    CHECK(load.num_dead == 6 * 2);
    CHECK(load.further_rounds > 0);
    for (const model::BlockTensors& block : model.memory.weights->gradients.blocks)
      if (size == 1 || model.grid.rank() == size - 1) {
        const std::int64_t half = block.expert_down.rows / 2;
        for (const float value :
             model.context.download<float>(block.expert_down.row_range(half, half)))
          REQUIRE(value == 0.0F);
      }
  }
}

TEST_CASE("experts: rows are on their way before the host works out where they will lie") {
  if (testing::session().size() != 2) return;
  const Hdf5Fixture fixture(fixture_path("moe"));
  config::Parameters p = testing::parameters_of(fixture, 1, 2, false, 1, "float32");
  p.parallel.expert = 2;
  const auto gpu = std::make_shared<CopyingGpu>();
  ModelOnGrid model(p, gpu);
  gpu->copies.clear();
  const auto share = model.share_of(fixture.words("tokens"), 2);
  model.stage.load(0, share.view());
  model.stage.forward(0);
  // A layer's counts come to the host; next its rows, which travel through the host here.
  const std::int64_t counts_bytes = p.model.num_experts * 4;
  std::int64_t num_layers = 0;
  for (std::size_t i = 0; i + 1 < gpu->copies.size(); ++i) {
    if (!gpu->copies[i].to_host || gpu->copies[i].bytes != counts_bytes) continue;
    ++num_layers;
    CHECK(gpu->copies[i + 1].to_host);
  }
  CHECK(num_layers == model.memory.architecture.num_sparse_layers());
}

TEST_CASE(
    "experts: documents of one token are predicted by nobody, and are balanced all the same") {
  const Hdf5Fixture fixture(fixture_path("moe"));
  const int size = testing::session().size();
  double of_tensor_ranks = 0.0;
  for (const bool share_sequences : {false, true}) {
    if (share_sequences && (size == 1 || testing::gpu_of_test() != nullptr)) continue;
    const int tensor = share_sequences ? 1 : size;
    config::Parameters p = testing::parameters_of(fixture, tensor, 1, tensor > 1, 1, "float32");
    p.parallel.context = size / tensor;
    p.parallel.expert = size;
    p.experts.balance = "sequence";
    p.data.document_mask = true;
    ModelOnGrid model(fixture, p);
    const std::vector<std::uint32_t> tokens = fixture.words("tokens");
    const std::vector<std::int32_t> places(tokens.size(), 0);
    model.stage.train({.samples = device::view_of(tokens.data(), 2, 25),
                       .document_positions = device::view_of(places.data(), 2, 25),
                       .num_counted = 2,
                       .document_mask = true,
                       .predict_across = false},
                      {.loss_scale = 1.0F,
                       .first = true,
                       .last = true,
                       .bucket_done =
                           [&](int bucket) {
                             model.memory.parameter_store->accumulated(model.context, bucket, true);
                           },
                       .num_sequences = 2.0});
    CHECK(model.stage.take_loss_sum() == 0.0);
    const double norm = model.gradient_norm();
    CHECK(norm > 0.0);
    CHECK(norm < 0.1);  // of the balance loss alone
    if (share_sequences) CHECK(norm == Approx(of_tensor_ranks).epsilon(1e-5));
    of_tensor_ranks = norm;
  }
}

}  // namespace espalier
