#include <catch2/catch.hpp>
#include <string>
#include <vector>

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
