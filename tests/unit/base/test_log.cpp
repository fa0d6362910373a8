#include <catch2/catch.hpp>
#include <string>
#include <vector>

#include "base/held_warnings.hpp"
#include "base/log.hpp"

using namespace espalier;

TEST_CASE("the first sink gets what was said before it, and a later one does not") {
  std::vector<std::string> first, second;
  log::line("a banner of\n  two lines");
  log::warning("of the input");
  log::set_sink([&](std::string_view text) { first.emplace_back(text); });
  log::line("a step");
  log::set_sink({});
  log::line("nobody writes this down");
  log::set_sink([&](std::string_view text) { second.emplace_back(text); });
  log::line("another step");
  log::set_sink({});
  REQUIRE(first.size() == 3);
  CHECK(first[0] == "a banner of\n  two lines");
  CHECK(first[1].ends_with("warning: of the input"));
  CHECK(first[2] == "a step");
  CHECK(second == std::vector<std::string>{"another step"});
}

TEST_CASE("ranks in few words") {
  CHECK(log::describe_ranks({3}) == "rank 3");
  CHECK(log::describe_ranks({0, 1, 2, 5, 7, 8}) == "ranks 0-2, 5, 7-8");
}

TEST_CASE("what many ranks warn of is a line with the ranks") {
  std::vector<std::string> taken(6), sink;
  {
    const log::HeldWarnings held;
    for (const int rank : {1, 2, 3, 5}) {
      log::set_rank(rank);
      CHECK(!log::HeldWarnings::any());
      log::warning("slow\nclock");
      if (rank == 2) log::warning("hot");
      if (rank == 2) log::warning("hot");
      CHECK(log::HeldWarnings::any());
      taken[static_cast<std::size_t>(rank)] = log::HeldWarnings::take();
    }
    log::set_rank(0);
    log::set_sink([&](std::string_view text) { sink.emplace_back(text); });
    log::warning("of rank 0 at once");
    log::print_warnings(taken);
    log::set_sink({});
  }
  CHECK(sink == std::vector<std::string>{"espalier: rank 0: warning: of rank 0 at once",
                                         "espalier: ranks 1-3, 5: warning: slow\nclock",
                                         "espalier: rank 2: warning: hot"});
}

TEST_CASE("a warning that nobody has taken is not lost") {
  std::vector<std::string> sink, own;
  log::set_sink([&](std::string_view text) { sink.emplace_back(text); });
  log::set_rank_sink([&](std::string_view text) { own.emplace_back(text); });
  log::set_rank(4);
  {
    const log::HeldWarnings held;
    log::warning("late");
    CHECK(sink.empty());
    CHECK(own == std::vector<std::string>{"warning: late"});
  }
  log::set_rank(0);
  log::set_sink({});
  log::set_rank_sink({});
  CHECK(sink == std::vector<std::string>{"espalier: rank 4: warning: late"});
}
