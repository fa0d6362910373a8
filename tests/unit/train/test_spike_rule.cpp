#include <catch2/catch.hpp>
#include <limits>

#include "train/spike_rule.hpp"

namespace espalier::train {
namespace {

/// A rule that has seen `count` steps whose loss and norm go up and down by 0.1 around 2 and 1.
SpikeRule after(int count, double threshold = 6.0, std::int64_t window = 16) {
  SpikeRule rule(threshold, window);
  for (int i = 0; i < count; ++i) rule.add(2.0 + (i % 2 ? 0.1 : -0.1), 1.0 + (i % 2 ? 0.1 : -0.1));
  return rule;
}

}  // namespace

TEST_CASE("what stands out upwards is a spike, in loss or norm, and nothing downwards") {
  const SpikeRule rule = after(16);
  CHECK_FALSE(rule.find(2.59, 1.59));
  const auto loss = rule.find(2.61, 1.0);
  REQUIRE(loss);
  CHECK(loss->what == "loss");
  CHECK(loss->mean == Approx(2.0));
  CHECK(loss->deviation == Approx(0.1));
  const auto norm = rule.find(2.0, 1.61);
  REQUIRE(norm);
  CHECK(norm->what == "grad_norm");
  CHECK_FALSE(rule.find(-100.0, 0.0));
}

TEST_CASE("what is not finite is a spike without a window and without a threshold") {
  const SpikeRule rule = after(0, 0.0);
  CHECK(rule.find(std::numeric_limits<double>::quiet_NaN(), 1.0)->what == "not_finite");
  CHECK(rule.find(1.0, std::numeric_limits<double>::infinity())->what == "not_finite");
  CHECK_FALSE(after(16, 0.0).find(1e30, 1e30));
}

TEST_CASE("nothing is a spike before half of the window is there") {
  CHECK_FALSE(after(7).find(1e6, 1.0));
  CHECK(after(8).find(1e6, 1.0));
}

TEST_CASE("a flat loss has no spike by rounding, and one of 0 none at all") {
  SpikeRule flat(6.0, 16), zero(6.0, 16);
  for (int i = 0; i < 16; ++i) flat.add(2.0, 1.0), zero.add(0.0, 0.0);
  CHECK_FALSE(flat.find(2.0001, 1.0001));
  CHECK(flat.find(2.1, 1.0));
  CHECK_FALSE(zero.find(5.0, 5.0));
}

TEST_CASE("a spike is no part of the window, and what is older than the window has no part in it") {
  SpikeRule rule = after(16);
  rule.add(1e6, 1.0);
  CHECK(rule.encode() == after(16).encode());
  for (int i = 0; i < 16; ++i) rule.add(2.2 + 0.001 * i, 1.0);
  CHECK_FALSE(rule.find(2.0, 1.0));
  CHECK(rule.find(2.35, 1.0));
}

TEST_CASE("a window that is handed on decides alike") {
  SpikeRule other(6.0, 16);
  other.decode(after(40).encode());
  CHECK(other.encode() == after(40).encode());
  CHECK(other.find(2.61, 1.0)->deviation == after(40).find(2.61, 1.0)->deviation);
}

}  // namespace espalier::train
