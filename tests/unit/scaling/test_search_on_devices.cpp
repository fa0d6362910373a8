// The candidates of a search on devices: what fits, what is done in time, and what is said of the
// others. The layouts are invented; those of real runs are tests of their own.
#include <catch2/catch.hpp>

#include "plan/estimate/search_on_devices.hpp"
#include "plan/scaling/search_space.hpp"
#include "support/expect_error.hpp"

using namespace espalier;
using config::Parameters;
using Verdict = plan::OnDevice::Verdict;

namespace {

Parameters input() {
  Parameters p;
  p.model.vocab_size = 151936;
  p.model.num_key_value_heads = 8;
  p.search.budget = 1.36e21;
  p.search.flops = "published";
  p.search.layers = {24, 32};
  p.search.hidden_min = 1024;
  p.search.hidden_max = 7680;
  p.search.hidden_step = 512;
  p.plan.ranks = 8;
  return p;
}

config::HardwareParameters hardware_of_size(const char* name, double memory_gib) {
  config::HardwareParameters hardware;
  hardware.name = name;
  hardware.memory_gib = memory_gib;
  return hardware;
}

/// 16 bytes a parameter, and an hour for each 1e9 tokens.
std::vector<plan::Layout> invented(const Parameters& run, const config::HardwareParameters& h,
                                   std::int64_t ranks) {
  plan::Layout layout{.parameters = run, .estimate = {}};
  layout.estimate.ranks = ranks;
  layout.estimate.memory_bytes = 16 * model::Architecture::from(run.model).num_parameters();
  layout.estimate.fits =
      static_cast<double>(layout.estimate.memory_bytes) <= h.memory_gib * (1 << 30);
  layout.estimate.hours = 1e-9 * static_cast<double>(run.training.tokens);
  return {layout};
}

}  // namespace

TEST_CASE("without a device every candidate stays") {
  Parameters p = input();
  p.plan.ranks = 0;
  const plan::SearchResult result = plan::search(plan::space_of(p));
  const plan::SearchOnDevices on =
      plan::on_devices(p, result, plan::devices_of_search(p), 0, invented);
  CHECK(on.possible.size() == result.candidates.size());
  CHECK(on.dropped.empty());
  CHECK(plan::why_dropped(p, on).empty());
}

TEST_CASE("hours and ranks without a device are a mistake") {
  Parameters p = input();
  testing::expect_words(testing::message_of([&] { plan::devices_of_search(p); }),
                        {"plan.ranks = 8", "plan.device"});
  p.plan.hours = 60;
  testing::expect_words(testing::message_of([&] { plan::devices_of_search(p); }),
                        {"plan.hours = 60", "plan.device"});
}

TEST_CASE("candidates that do not fit, or take too long, are dropped and counted by reason") {
  Parameters p = input();
  p.plan.hours = 210.0;
  const plan::SearchResult result = plan::search(plan::space_of(p));
  REQUIRE(result.candidates.size() == 7);
  // 1.83e9 and 1.78e9 parameters need 27 GiB; 314e9 and 233e9 tokens take too long.
  const plan::SearchOnDevices on =
      plan::on_devices(p, result, {hardware_of_size("small", 20.0)}, 0, invented);
  CHECK(on.count(0, Verdict::too_large) == 2);
  CHECK(on.count(0, Verdict::too_long) == 2);
  CHECK(on.count(0, Verdict::possible) == 3);
  REQUIRE(on.possible.size() == 3);
  CHECK(on.dropped.size() == 4);
  for (const plan::PlannedCandidate& row : on.possible) {
    CHECK(row.on[0].layout.estimate.ranks == 8);
    CHECK(row.on[0].layout.parameters.model.hidden_size == row.candidate.architecture.hidden_size);
  }
  // The order is that of the search.
  CHECK(on.possible[0].candidate.loss < on.possible[1].candidate.loss);
  testing::expect_words(plan::why_dropped(p, on),
                        {"8 x small", "2 too large for 20 GiB", "the least: 26", "2 longer than",
                         "plan.hours = 210", "the least: 233"});
}

TEST_CASE("only as many candidates are asked as it takes to find those that are wanted") {
  Parameters p = input();
  p.plan.hours = 210.0;
  const plan::SearchResult result = plan::search(plan::space_of(p));
  // The first is too large, the second and third take too long.
  const plan::SearchOnDevices on =
      plan::on_devices(p, result, {hardware_of_size("small", 20.0)}, 1, invented);
  CHECK(on.possible.size() == 1);
  CHECK(on.dropped.size() == 3);
  CHECK(on.num_not_asked == 3);
}

TEST_CASE("devices are alternatives: what one of them can train stays") {
  Parameters p = input();
  const plan::SearchResult result = plan::search(plan::space_of(p));
  const plan::SearchOnDevices on = plan::on_devices(
      p, result, {hardware_of_size("small", 20.0), hardware_of_size("large", 80.0)}, 0, invented);
  CHECK(on.possible.size() == 7);
  CHECK(on.count(0, Verdict::too_large) == 2);
  CHECK(on.count(1, Verdict::possible) == 7);
}

TEST_CASE("a shape without a legal layout is dropped; when none has one, the search ends") {
  Parameters p = input();
  const plan::SearchResult result = plan::search(plan::space_of(p));
  const auto of_heads = [](std::int64_t heads) {
    return [heads](const Parameters& run, const config::HardwareParameters& h, std::int64_t ranks) {
      if (run.model.num_attention_heads % heads != 0)
        throw Error(ExitStatus::bad_configuration, "no layout uses these ranks",
                    Met::by_every_rank);
      return invented(run, h, ranks);
    };
  };
  const plan::SearchOnDevices on =
      plan::on_devices(p, result, {hardware_of_size("any", 80.0)}, 0, of_heads(16));
  CHECK(on.count(0, Verdict::no_layout) == 3);
  CHECK(on.possible.size() == 4);
  testing::expect_words(plan::why_dropped(p, on), {"3 without a legal layout"});
  testing::expect_words(
      testing::message_of(
          [&] { plan::on_devices(p, result, {hardware_of_size("any", 80.0)}, 0, of_heads(7)); }),
      {"no candidate", "plan.ranks", "no layout uses these ranks"});
}
