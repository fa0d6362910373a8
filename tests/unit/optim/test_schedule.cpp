#include "optim/schedule.hpp"

#include <catch2/catch.hpp>
#include <cmath>
#include <numbers>
#include <string>

#include "base/error.hpp"

using espalier::Error;
using espalier::config::OptimizerParameters;
using espalier::config::ScheduleParameters;
using espalier::optim::learning_rate_at;

namespace {

constexpr double kPeak = 4.0e-4;
constexpr double kLast = 1.0e-5;
constexpr std::int64_t kWarmup = 10;
constexpr std::int64_t kTotal = 110;

double rate(const std::string& name, std::int64_t step, std::int64_t warmup = kWarmup,
            std::int64_t decay = 40, std::int64_t total = kTotal) {
  OptimizerParameters optimizer;
  optimizer.learning_rate = kPeak;
  ScheduleParameters schedule;
  schedule.name = name;
  schedule.warmup_steps = warmup;
  schedule.decay_steps = decay;
  schedule.min_learning_rate = kLast;
  return learning_rate_at(optimizer, schedule, step, total);
}

}  // namespace

TEST_CASE("every schedule warms up linearly and reaches the peak at the last warm-up step") {
  for (const char* name : {"constant", "linear", "cosine", "warmup_stable_decay"}) {
    for (std::int64_t step = 1; step < kWarmup; ++step)
      REQUIRE(rate(name, step) == Approx(kPeak * static_cast<double>(step) / 10.0).epsilon(1e-14));
    REQUIRE(rate(name, kWarmup) == kPeak);
    // A run shorter than its warm-up never leaves the ramp.
    REQUIRE(rate(name, 5, 10, 0, 5) == Approx(0.5 * kPeak));
  }
}

TEST_CASE("constant stays at the peak") {
  for (std::int64_t step : {1, 50, 110}) REQUIRE(rate("constant", step, 0) == kPeak);
}

TEST_CASE("linear and cosine go from the peak to the minimum") {
  for (std::int64_t step = kWarmup; step <= kTotal; ++step) {
    const double p = static_cast<double>(step - kWarmup) / 100.0;
    REQUIRE(rate("linear", step) == Approx(kPeak + (kLast - kPeak) * p).epsilon(1e-13));
    REQUIRE(rate("cosine", step) ==
            Approx(kLast + 0.5 * (kPeak - kLast) * (1.0 + std::cos(std::numbers::pi * p)))
                .epsilon(1e-13));
  }
  for (const char* name : {"linear", "cosine"}) {
    REQUIRE(rate(name, kTotal) == kLast);
    REQUIRE(rate(name, kTotal + 1) == kLast);  // a run made longer than planned
  }
}

TEST_CASE("without warm-up the first step is one step into the decay") {
  REQUIRE(rate("linear", 1, 0, 0, 100) == Approx(kPeak + (kLast - kPeak) * 0.01));
}

TEST_CASE("warmup_stable_decay is flat and then falls linearly over the last steps") {
  for (std::int64_t step = kWarmup; step <= kTotal - 40; ++step)
    REQUIRE(rate("warmup_stable_decay", step) == kPeak);
  for (std::int64_t step = kTotal - 40; step <= kTotal; ++step) {
    const double p = static_cast<double>(step - (kTotal - 40)) / 40.0;
    REQUIRE(rate("warmup_stable_decay", step) ==
            Approx(kPeak + (kLast - kPeak) * p).epsilon(1e-13));
  }
  REQUIRE(rate("warmup_stable_decay", kTotal) == kLast);
  // No decay: flat to the end. A decay longer than the run begins after the warm-up.
  REQUIRE(rate("warmup_stable_decay", kTotal, kWarmup, 0) == kPeak);
  REQUIRE(rate("warmup_stable_decay", 60, kWarmup, 1000) ==
          Approx(0.5 * (kPeak + kLast)).epsilon(1e-13));
}

TEST_CASE("a schedule that does not exist is refused") {
  REQUIRE_THROWS_AS(rate("exponential", 50), Error);
}
