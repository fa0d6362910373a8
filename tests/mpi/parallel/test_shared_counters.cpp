#include "parallel/comm/shared_counters.hpp"

#include <catch2/catch.hpp>
#include <vector>

using namespace espalier;
using namespace espalier::parallel;

TEST_CASE("ranks take every number of a shared counter once") {
  MpiSession session(nullptr, nullptr);
  constexpr std::int64_t kNumbers = 200;
  std::vector<double> taken(kNumbers, 0.0);
  SharedCounters counters(session, 2);
  for (std::int64_t number = 0; (number = counters.add(0, 1)) < kNumbers;) {
    taken[static_cast<std::size_t>(number)] += 1.0;
    counters.add(1, number);
    counters.help();
  }
  session.world().all_reduce_sum(std::span<double>(taken));
  CHECK(taken == std::vector<double>(kNumbers, 1.0));
  CHECK(counters.add(1, 0) == kNumbers * (kNumbers - 1) / 2);
  CHECK(counters.add(0, 0) == kNumbers + session.size());
}
