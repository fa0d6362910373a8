#include <catch2/catch.hpp>
#include <cmath>
#include <fstream>

#include "io/event_log.hpp"
#include "support/scratch_folder.hpp"

using namespace espalier;

TEST_CASE("events of several jobs are read back in order, with job, step and time") {
  const testing::ScratchFolder folder;
  CHECK(io::read_events(folder.path()).empty());
  const io::EventLog first(folder.path(), 1), second(folder.path(), 2);
  first.append({.kind = "start", .details = {{"grid", "tensor 2"}, {"ranks", 4.0}}});
  second.append({.kind = "audit",
                 .step = 120,
                 .details = {{"ranks", std::vector<std::int64_t>{0, 3}}, {"tensor", "a\n\"b\""}}});
  const auto events = io::read_events(folder.path());
  REQUIRE(events.size() == 2);
  CHECK(events[0].kind == "start");
  CHECK(events[0].job == 1);
  CHECK(events[0].text("grid") == "tensor 2");
  CHECK(events[0].number("ranks") == 4.0);
  CHECK(events[0].time_s <= events[1].time_s);
  CHECK(events[0].time_s > 1.0e9);
  CHECK(events[1].step == 120);
  CHECK(events[1].job == 2);
  CHECK(events[1].text("tensor") == "a\n\"b\"");
  CHECK(std::get<std::vector<std::int64_t>>(events[1].details[0].second) ==
        std::vector<std::int64_t>{0, 3});
  CHECK(events[1].text("none").empty());
  CHECK(std::isnan(events[1].number("none")));
}

TEST_CASE("a line that is no event is left out, and the others stay") {
  const testing::ScratchFolder folder;
  const io::EventLog log(folder.path(), 1);
  log.append({.kind = "start"});
  std::ofstream(folder / "events.jsonl", std::ios::app)
      << "{\"time\": 1, \"jo\n[1, 2]\n\n{\"event\": 3, \"time\": 1, \"job\": 1, \"step\": 1}\n"
      << "{\"event\": \"odd\", \"time\": 1, \"job\": 1, \"step\": 1, \"list\": [1, \"a\"], "
         "\"none\": null}\n";
  log.append({.kind = "end"});
  const auto events = io::read_events(folder.path());
  REQUIRE(events.size() == 3);
  CHECK(events[1].kind == "odd");
  CHECK(events[1].details.empty());
  CHECK(events[2].kind == "end");
}

TEST_CASE("a number that is not finite and text that is no UTF-8 are written as JSON can") {
  const testing::ScratchFolder folder;
  const io::EventLog log(folder.path(), 1);
  log.append({.kind = "spike", .details = {{"value", std::nan("")}, {"what", "\xff"}}});
  const auto events = io::read_events(folder.path());
  REQUIRE(events.size() == 1);
  CHECK(std::isnan(events[0].number("value")));
  CHECK(events[0].text("what") == "\xEF\xBF\xBD");
}

TEST_CASE("a folder that is not there is named") {
  const testing::ScratchFolder folder;
  const io::EventLog log(folder / "gone", 1);
  CHECK_THROWS_WITH(log.append({.kind = "end"}), Catch::Contains("gone/events.jsonl"));
}
