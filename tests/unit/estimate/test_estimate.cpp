#include <catch2/catch.hpp>

#include "../../support/parameters.hpp"
#include "plan/estimate/estimate.hpp"
#include "plan/flops.hpp"
#include "planned_devices.hpp"

using namespace espalier;

namespace {

config::Parameters resolved(config::Parameters p, int ranks) {
  config::resolve(p, ranks, config::Use::planning);
  return p;
}

config::Parameters run_of_8b() {
  config::Parameters p = testing::qwen3_8b();
  p.training.global_batch_size = 64;
  p.training.steps = 1000;
  p.parallel.tensor = 2;
  return p;
}

}  // namespace

TEST_CASE("the parts of a step add up to it") {
  const plan::Estimate e = plan::estimate(resolved(run_of_8b(), 8), testing::device());
  double sum = 0.0;
  for (const plan::StepPart& part : plan::step_parts(e)) {
    CHECK(part.seconds >= 0.0);
    sum += part.seconds;
  }
  CHECK(sum == Approx(e.step()).epsilon(1e-12));
  CHECK(e.time.step() < e.step());
  CHECK(e.ranks == 8);
}

TEST_CASE("tokens, hours and MFU follow from the step") {
  const config::Parameters p = resolved(run_of_8b(), 8);
  const plan::Estimate e = plan::estimate(p, testing::device());
  CHECK(e.tokens_per_second == Approx(64.0 * 4096.0 / e.step()));
  CHECK(e.hours == Approx(1000.0 * e.step() / 3600.0));
  CHECK(e.device_hours() == Approx(8.0 * e.hours));
  const plan::FlopsPerToken flops =
      plan::flops_per_token(model::Architecture::from(p.model), 4096.0);
  CHECK(e.mfu_causal == Approx(e.tokens_per_second / 8.0 * flops.causal_attention / 2250e12));
  CHECK(e.mfu_full == Approx(e.tokens_per_second / 8.0 * flops.full_attention / 2250e12));
  config::Parameters longer = p;
  longer.training.steps = 2000;
  CHECK(plan::estimate(longer, testing::device()).hours == Approx(2.0 * e.hours));
}

TEST_CASE("MFU is of the data sheet's peak of the run's dtype, or of the best product") {
  config::Parameters p = run_of_8b();
  p.training.dtype = "float32";
  p = resolved(p, 8);
  config::HardwareParameters hardware = testing::device();
  const plan::Estimate of_the_sheet = plan::estimate(p, hardware);
  hardware.peak_fp32_tflops = 0.0;
  const plan::Estimate of_the_product = plan::estimate(p, hardware);
  CHECK(of_the_product.mfu_causal * 70.0 == Approx(of_the_sheet.mfu_causal * 80.0));
}

TEST_CASE("a slow file system stalls the run by what is not written beside a step") {
  config::HardwareParameters hardware = testing::device();
  const config::Parameters p = resolved(run_of_8b(), 8);
  const double bytes = 12.0 * 8190735360.0 / 8.0;  // of a rank
  const auto stall = [&](double storage_gbs, const config::Parameters& of) {
    hardware.storage_gbs = storage_gbs;
    return plan::estimate(of, hardware);
  };
  // Written within a step.
  CHECK(stall(1e6, p).checkpoint_share == 0.0);
  // Eight devices share 8 GB/s: what a step leaves is copied at 8 GB/s each.
  const plan::Estimate slow = stall(8.0, p);
  const double step = slow.time.step() + slow.input;
  CHECK(slow.checkpoint_interval == 1800.0);
  CHECK(slow.checkpoint_seconds == Approx((bytes - 1e9 * step) / 8e9));
  CHECK(slow.checkpoint_share ==
        Approx(slow.checkpoint_seconds / (1800.0 + slow.checkpoint_seconds)));
  // Not known: all of it is copied.
  CHECK(stall(0.0, p).checkpoint_seconds == Approx(bytes / 8e9));
  // Waited for.
  config::Parameters waits = p;
  waits.checkpoint.staging = "wait";
  CHECK(stall(8.0, waits).checkpoint_seconds == Approx((bytes - 1e9 * step) / 1e9));
  // A save takes longer than the time to the next one.
  config::Parameters often = p;
  often.checkpoint.interval = 1;
  const plan::Estimate held_up = stall(8.0, often);
  CHECK(held_up.checkpoint_interval == Approx(step));
  CHECK(held_up.checkpoint_seconds == Approx((bytes - 1e9 * step) / 8e9 + bytes / 1e9 - step));
  // None.
  config::Parameters never = p;
  never.plan.checkpoint_minutes = 0.0;
  CHECK(stall(8.0, never).checkpoint_share == 0.0);
}

TEST_CASE("anything fits where the memory of a device is not known") {
  CHECK(plan::estimate(resolved(run_of_8b(), 8), testing::device(0.0)).fits);
  CHECK_FALSE(plan::estimate(resolved(run_of_8b(), 8), testing::device(10.0)).fits);
}

TEST_CASE("the expected loss is that of the law of the input") {
  // qwen3-8b: 8,190,735,360 parameters, of them 2 x 151936 x 4096 in embedding and LM head.
  const config::Parameters p = resolved(run_of_8b(), 8);
  const double tokens = 1000.0 * 64.0 * 4096.0;
  const auto chinchilla = [&](double n) {
    return 1.69 + 406.4 / std::pow(n, 0.34) + 410.7 / std::pow(tokens, 0.28);
  };
  CHECK(plan::expected_loss(p) == Approx(chinchilla(8190735360.0)).epsilon(1e-12));
  config::Parameters other = p;
  other.loss_law.counts = "without_embedding";
  CHECK(plan::expected_loss(other) ==
        Approx(chinchilla(8190735360.0 - 2.0 * 151936.0 * 4096.0)).epsilon(1e-12));
  other.loss_law.e = 2.69;
  CHECK(plan::expected_loss(other) ==
        Approx(1.0 + chinchilla(8190735360.0 - 2.0 * 151936.0 * 4096.0)).epsilon(1e-12));
}
