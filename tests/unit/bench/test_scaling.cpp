#include "bench/scaling.hpp"

#include <catch2/catch.hpp>
#include <cmath>

#include "support/expect_error.hpp"
#include "support/parameters.hpp"

using namespace espalier;
using bench::scaling_cases;
using bench::ScalingCases;
using bench::ScalingPoint;
using testing::expect_words;
using testing::message_of;

namespace {

config::Parameters small_run() {
  config::Parameters p = testing::small_model();
  p.training.global_batch_size = 8;
  return p;
}

std::vector<int> ranks_of(const ScalingCases& cases) {
  std::vector<int> ranks;
  for (const auto& of : cases.cases) ranks.push_back(of.ranks);
  return ranks;
}

ScalingPoint point_of(int ranks, double tokens, double step_s) {
  ScalingPoint point{.ranks = ranks};
  point.tokens = tokens;
  point.step_s = step_s;
  return point;
}

}  // namespace

TEST_CASE("without bench.ranks the counts double up to those of the job, which are the last") {
  config::Parameters p = small_run();
  CHECK(ranks_of(scaling_cases(p, 1)) == std::vector<int>{1});
  CHECK(ranks_of(scaling_cases(p, 4)) == std::vector<int>{1, 2, 4});
  p.training.global_batch_size = 24;
  CHECK(ranks_of(scaling_cases(p, 6)) == std::vector<int>{1, 2, 4, 6});
  p.parallel.tensor = 2;  // a data rank is two ranks
  CHECK(ranks_of(scaling_cases(p, 6)) == std::vector<int>{2, 4, 6});
}

TEST_CASE("each count is resolved for itself, whatever data ranks the input names") {
  config::Parameters p = small_run();
  p.parallel.tensor = 2;
  p.parallel.data = 4;
  p.bench.ranks = {8, 2, 4};
  const ScalingCases cases = scaling_cases(p, 8);
  REQUIRE(ranks_of(cases) == std::vector<int>{2, 4, 8});
  for (const auto& of : cases.cases) {
    CHECK(of.parameters.parallel.tensor == 2);
    CHECK(of.parameters.parallel.data == of.ranks / 2);
    CHECK(of.parameters.training.global_batch_size == 8);
    CHECK(of.parameters.model.head_dim == 8);
  }
}

TEST_CASE("weak scaling grows the batch from the fewest ranks on, with as many steps") {
  config::Parameters p = small_run();
  p.bench.scaling = "weak";
  p.bench.ranks = {2, 4, 6};
  p.training.tokens = 8 * 32 * 5;
  p.schedule.warmup_steps = 5;  // more than the steps that these tokens would be on six ranks
  const ScalingCases cases = scaling_cases(p, 8);
  REQUIRE(ranks_of(cases) == std::vector<int>{2, 4, 6});
  std::vector<std::int64_t> batches, steps;
  for (const auto& of : cases.cases) {
    batches.push_back(of.parameters.training.global_batch_size);
    steps.push_back(of.parameters.training.steps);
  }
  CHECK(batches == std::vector<std::int64_t>{8, 16, 24});
  CHECK(steps == std::vector<std::int64_t>{5, 5, 5});
}

TEST_CASE("a count that grid or batch does not fit is left out, and it is said why") {
  config::Parameters p = small_run();
  p.parallel.tensor = 2;
  p.bench.ranks = {1, 2, 6, 8};
  const ScalingCases cases = scaling_cases(p, 8);
  CHECK(ranks_of(cases) == std::vector<int>{2, 8});
  REQUIRE(cases.left_out.size() == 2);
  CHECK(cases.left_out[0].ranks == 1);
  expect_words(cases.left_out[0].why, {"parallel.tensor", "2"});
  CHECK(cases.left_out[1].ranks == 6);
  expect_words(cases.left_out[1].why, {"training.global_batch_size = 8", "3"});
  p.bench.scaling = "weak";
  p.bench.ranks = {4, 6};
  p.training.global_batch_size = 9;  // 13.5 on six ranks
  p.training.micro_batch_size = 9;
  expect_words(
      message_of([&] { scaling_cases(p, 8); }),
      {"4 ranks", "6 ranks", "training.global_batch_size = 9", "\"weak\": the input's 9 are of 4"});
}

TEST_CASE("counts that the job cannot have are mistakes of the input") {
  config::Parameters p = small_run();
  const auto error_of = [&](std::vector<std::int64_t> ranks) {
    p.bench.ranks = std::move(ranks);
    return message_of([&] { scaling_cases(p, 4); });
  };
  expect_words(error_of({1, 8}), {"bench.ranks", "8", "4 ranks"});
  expect_words(error_of({0, 1}), {"bench.ranks", "0"});
  expect_words(error_of({-2}), {"bench.ranks", "-2"});
  expect_words(error_of({2, 1, 2}), {"bench.ranks", "2 twice"});
  p.parallel.tensor = 8;
  expect_words(error_of({}), {"parallel.tensor", "8", "4"});
  p.parallel.tensor = 1;
  p.training.dtype = "bf16";  // nothing fits an input with a mistake: it is told
  expect_words(error_of({1, 2}), {"training.dtype", "bf16"});
}

TEST_CASE("a batch that outgrows 64 bits is told") {
  config::Parameters p = small_run();
  p.bench.scaling = "weak";
  p.bench.ranks = {4, 8};
  p.training.global_batch_size = std::int64_t{1} << 61;
  expect_words(message_of([&] { scaling_cases(p, 8); }), {"training.global_batch_size", "64 bits"});
}

TEST_CASE("efficiency is speed per rank over that of the fewest, for weak scaling and for strong") {
  const ScalingPoint one = point_of(1, 100.0, 1.0);
  const ScalingPoint weak = point_of(4, 400.0, 1.25);
  const ScalingPoint strong = point_of(4, 100.0, 0.3125);
  CHECK(bench::efficiency(one, one.step_s, one, one.step_s) == 1.0);
  CHECK(bench::efficiency(weak, weak.step_s, one, one.step_s) == Approx(0.8));
  CHECK(bench::efficiency(strong, strong.step_s, one, one.step_s) == Approx(0.8));
  CHECK(std::isnan(bench::efficiency(weak, std::nan(""), one, 1.0)));
}

TEST_CASE("nodes are the different hosts of the first ranks") {
  const std::vector<std::string> hosts = {"n1", "n1", "n2", "n2", "n1"};
  CHECK(bench::num_nodes(hosts, 1) == 1);
  CHECK(bench::num_nodes(hosts, 2) == 1);
  CHECK(bench::num_nodes(hosts, 3) == 2);
  CHECK(bench::num_nodes(hosts, 5) == 2);
}
