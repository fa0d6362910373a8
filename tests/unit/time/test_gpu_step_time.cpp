#include <catch2/catch.hpp>
#include <filesystem>

#include "base/error.hpp"
#include "plan/flops.hpp"
#include "plan/time/models.hpp"
#include "support/parameters.hpp"

using namespace espalier;

namespace {

config::HardwareParameters known_device(const std::string& name) {
  return plan::read_hardware(std::string(ESPALIER_SOURCE_DIR) + "/inputs/devices/" + name +
                             ".toml");
}

config::Parameters run(std::int64_t tensor, std::int64_t data) {
  config::Parameters p = testing::qwen3_8b();
  p.parallel.tensor = tensor;
  p.parallel.data = data;
  p.training.micro_batch_size = 1;
  p.training.global_batch_size = 4 * data;
  p.training.steps = 10;
  config::resolve(p, static_cast<int>(tensor * data), config::Use::bench);
  return p;
}

}  // namespace

TEST_CASE("products that fill whole waves of whole tiles keep the tensor cores busy") {
  const std::int64_t endless = std::int64_t{1} << 40;
  // 132 tiles of 256 x 128 on 132 multiprocessors.
  CHECK(plan::tile_efficiency(256 * 132, 128, endless, 132) == Approx(1.0));
  // A tile more: half of the idle time of the second wave is lost.
  CHECK(plan::tile_efficiency(256 * 133, 128, endless, 132) < 0.85);
  // A product smaller than a tile has a share of one multiprocessor.
  CHECK(plan::tile_efficiency(1, 1, endless, 132) < 1e-3);
  // Filling and emptying the pipeline: half of the time where k is as long.
  CHECK(plan::tile_efficiency(256 * 132, 128, 225, 132) == Approx(0.5));
}

TEST_CASE("no device does more than its best product, nor less than a quarter of it") {
  for (const char* name : {"a100-40", "a100-80", "a6000", "h100", "h200", "b200", "b300", "gb200"}) {
    INFO(name);
    const config::HardwareParameters hardware = known_device(name);
    const config::Parameters p = run(1, 8);
    const double tokens = 4.0 * 4096.0;  // of a rank
    const double flops =
        plan::flops_per_token(model::Architecture::from(p.model), 4096.0).causal_attention;
    const double rate = tokens * flops / plan::predict_step(p, hardware).step();
    CHECK(rate < 1e12 * hardware.product_bf16_tflops);
    CHECK(rate > 0.25e12 * hardware.product_bf16_tflops);
  }
}

TEST_CASE("one rank talks to nobody, and tensor ranks wait for each other") {
  const plan::StepTime alone = plan::predict_step(run(1, 1), known_device("h100"));
  CHECK(alone.tensor_exposed == 0.0);
  CHECK(alone.data_exposed + alone.data_hidden == 0.0);
  const plan::StepTime pair = plan::predict_step(run(2, 1), known_device("h100"));
  CHECK(pair.tensor_exposed > 0.0);
  CHECK(pair.products == Approx(alone.products / 2).epsilon(0.1));
  config::Parameters overlapped = run(2, 1);
  overlapped.parallel.overlap_tensor = true;
  const plan::StepTime hidden = plan::predict_step(overlapped, known_device("h100"));
  CHECK(hidden.tensor_hidden > hidden.tensor_exposed);
}

TEST_CASE("gradients and weights travel beside the computation, or after it") {
  const plan::StepTime beside = plan::predict_step(run(1, 8), known_device("h100"));
  CHECK(beside.data_exposed == 0.0);
  CHECK(beside.data_hidden > 0.0);
  config::Parameters p = run(1, 8);
  p.parallel.overlap_data = false;
  const plan::StepTime after = plan::predict_step(p, known_device("h100"));
  CHECK(after.data_exposed == Approx(beside.data_hidden).epsilon(0.05));  // fewer collectives
  CHECK(after.step() > beside.step());
}

TEST_CASE("a figure that the time of a step needs is named when it is missing") {
  config::HardwareParameters hardware = known_device("h100");
  hardware.copy_gbs = 0.0;
  CHECK_THROWS_WITH(plan::predict_step(run(1, 1), hardware),
                    Catch::Contains("hardware.copy_gbs is not set for H100"));
}
