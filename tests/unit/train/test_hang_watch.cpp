#include <catch2/catch.hpp>
#include <string>
#include <vector>

#include "train/hang_watch.hpp"

using namespace espalier::train;
using Catch::Matchers::Contains;

namespace {

std::string ago(double seconds) {
  return std::to_string(static_cast<int>(seconds)) + " s ago";
}

std::vector<std::string> hosts(int num) {
  std::vector<std::string> names;
  for (int rank = 0; rank < num; ++rank) names.push_back("node" + std::to_string(rank / 2));
  return names;
}

/// All ranks are heard from `begin` to `end`; those from `first_silent` on are not.
void hear(HangWatch& watch, const std::vector<RankNow>& ranks, double begin, double end,
          std::size_t first_silent = 1000) {
  for (double time = begin; time <= end; time += 1.0)
    for (std::size_t rank = 0; rank < ranks.size() && rank < first_silent; ++rank)
      watch.heard(static_cast<std::int64_t>(rank), ranks[rank], time);
}

}  // namespace

TEST_CASE("a job that gets on does not hang, and one that waits is given its time") {
  HangWatch watch(hosts(2), 60.0, 4.0, 0.0);
  for (int i = 0; i < 200; ++i) {
    const auto changes = static_cast<std::uint64_t>(i);
    watch.heard(0, {"attention", i, changes}, i);
    watch.heard(1, {"attention", i, changes}, i);
    CHECK(!watch.look(i, ago));
  }
  hear(watch, {{"attention", 199, 199}, {"attention", 199, 199}}, 200.0, 258.0);
  CHECK(!watch.look(258.0, ago));
  CHECK(watch.look(259.0, ago));
}

TEST_CASE("a network that loses every datagram ends no job") {
  HangWatch watch(hosts(4), 60.0, 4.0, 0.0);
  for (int i = 0; i < 200; ++i) {
    watch.heard(0, {"attention", i, static_cast<std::uint64_t>(i)}, i);
    CHECK(!watch.look(i, ago));
  }
}

TEST_CASE("the rank that is no longer heard is named") {
  HangWatch watch(hosts(4), 60.0, 4.0, 0.0);
  std::vector<RankNow> ranks(4, {"gradient communication", 120, 9});
  ranks[3].activity = "attention";
  hear(watch, ranks, 0.0, 10.0);
  hear(watch, ranks, 11.0, 60.0, 3);
  const auto hang = watch.look(60.0, ago);
  REQUIRE(hang);
  CHECK(hang->ranks == std::vector<std::int64_t>{3});
  CHECK(hang->host == "node1");
  CHECK(hang->activity == "attention of step 120");
  CHECK_THAT(hang->text,
             Contains("rank 3 (node1) is not heard since 50 s ago, last in attention of step 120"));
  CHECK_THAT(hang->text, Contains("3 others are in gradient communication of step 120"));
}

TEST_CASE("of ranks that are all heard, those that do not wait for others are named") {
  HangWatch watch(hosts(4), 60.0, 4.0, 0.0);
  std::vector<RankNow> ranks(4, {"clipping", 7, 9});
  ranks[0].activity = "gradient communication";
  ranks[2].activity = "waiting for a checkpoint";
  hear(watch, ranks, 0.0, 60.0);
  const auto hang = watch.look(60.0, ago);
  REQUIRE(hang);
  CHECK(hang->ranks == std::vector<std::int64_t>{2});
  CHECK_THAT(hang->text, Contains("rank 2 (node1) is waiting for a checkpoint of step 7"));
  CHECK_THAT(hang->text, Contains("2 others are in clipping"));
  CHECK_THAT(hang->text, Contains("1 other is in gradient communication"));
}

TEST_CASE("a blocked collective: all ranks are named with what they wait in") {
  HangWatch watch(hosts(4), 60.0, 4.0, 0.0);
  std::vector<RankNow> ranks(4, {"tensor communication", 7, 9});
  ranks[1].activity = "context communication";
  hear(watch, ranks, 0.0, 60.0);
  const auto hang = watch.look(60.0, ago);
  REQUIRE(hang);
  CHECK(hang->ranks == std::vector<std::int64_t>{0, 1, 2, 3});
  CHECK_THAT(hang->text, Contains("every rank waits for others"));
  CHECK_THAT(hang->text, Contains("3 others are in tensor communication"));
}

TEST_CASE("a rank that was never heard, and a job of one rank") {
  HangWatch two(hosts(2), 60.0, 4.0, 0.0);
  two.heard(0, {"opening data", 0, 1}, 0.0);
  CHECK_THAT(two.look(60.0, ago)->text, Contains("rank 1 (node0) was never heard"));
  HangWatch one(hosts(1), 60.0, 4.0, 0.0);
  one.heard(0, {"writing run.log", 3, 1}, 0.0);
  CHECK_THAT(one.look(60.0, ago)->text, Contains("rank 0 (node0) is in writing run.log of step 3"));
}

TEST_CASE("the time in which the watchdog itself was stopped does not count") {
  HangWatch watch(hosts(2), 60.0, 4.0, 0.0);
  hear(watch, {{"attention", 1, 1}, {"attention", 1, 1}}, 0.0, 10.0);
  watch.pause(1000.0);
  CHECK(!watch.look(1010.0, ago));
  CHECK(!watch.look(1050.0, ago));
  const auto hang = watch.look(1060.0, ago);
  REQUIRE(hang);
  CHECK(hang->seconds == Approx(60.0));
}

TEST_CASE("many silent ranks are a short sentence") {
  HangWatch watch(hosts(1000), 60.0, 4.0, 0.0);
  std::vector<RankNow> ranks(1000, {"clipping", 1, 1});
  hear(watch, ranks, 0.0, 3.0);
  hear(watch, ranks, 4.0, 60.0, 500);
  const auto hang = watch.look(60.0, ago);
  REQUIRE(hang);
  CHECK(hang->ranks.size() == 500);
  CHECK(hang->text.size() < 1200);
  CHECK_THAT(hang->text, Contains("ranks 500-999"));
}

TEST_CASE("stages of a pipeline that wait for one are not to blame") {
  HangWatch watch(hosts(3), 60.0, 4.0, 0.0);
  const std::string residual = "waiting for the residual stream of micro-batch 3 from ";
  CHECK(is_wait_for_others(residual + "pipeline rank 1"));
  CHECK(is_wait_for_others("waiting for pipeline rank 1 to take the gradient of micro-batch 0"));
  CHECK_FALSE(is_wait_for_others("waiting for a checkpoint"));
  const std::vector<RankNow> ranks{
      {"waiting for the gradient of micro-batch 0 from pipeline rank 1", 7, 9},
      {"attention", 7, 9},
      {residual + "pipeline rank 1", 7, 9}};
  hear(watch, ranks, 0.0, 60.0);
  const auto hang = watch.look(60.0, ago);
  REQUIRE(hang);
  CHECK(hang->ranks == std::vector<std::int64_t>{1});
  CHECK_THAT(hang->text, Contains("rank 1 (node0) is in attention of step 7"));
  CHECK_THAT(hang->text, Contains("1 other is waiting for the residual stream of micro-batch 3 "
                                  "from pipeline rank 1 of step 7"));
}
