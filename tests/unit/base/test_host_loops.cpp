#include <atomic>
#include <catch2/catch.hpp>
#include <cmath>
#include <vector>

#include "base/host_loops.hpp"

namespace espalier {

TEST_CASE("ranges cover every index once, in multiples of the grain", "[loops]") {
  for (const std::int64_t count : {0, 1, 7, 64, 1000})
    for (const std::int64_t grain : {1, 3, 16, 2000}) {
      std::vector<std::atomic<int>> visits(static_cast<std::size_t>(count));
      std::atomic<int> ranges = 0, misaligned = 0;
      host_for_ranges(count, grain, [&](std::int64_t begin, std::int64_t end) {
        ++ranges;
        if (begin % grain != 0 || (end % grain != 0 && end != count)) ++misaligned;
        for (std::int64_t i = begin; i < end; ++i) ++visits[static_cast<std::size_t>(i)];
      });
      CAPTURE(count, grain);
      CHECK(misaligned == 0);
      CHECK(ranges <= num_host_threads());
      for (const auto& visit : visits) CHECK(visit == 1);
    }
}

TEST_CASE("every task runs once", "[loops]") {
  std::vector<std::atomic<int>> visits(257);
  host_for_tasks(257, [&](std::int64_t task) { ++visits[static_cast<std::size_t>(task)]; });
  for (const auto& visit : visits) CHECK(visit == 1);
  host_for_tasks(0, [](std::int64_t) { FAIL("there is no task"); });
}

TEST_CASE("a sum takes its slices in order", "[loops]") {
  // Terms whose sum depends on the order of additions.
  const auto term = [](std::int64_t i) { return std::sin(static_cast<double>(i)) * 1e10 + 1e-3; };
  double want = 0.0;
  for (std::int64_t first = 0; first < 1000; first += 17) {
    double slice = 0.0;
    for (std::int64_t i = first; i < std::min<std::int64_t>(first + 17, 1000); ++i)
      slice += term(i);
    want += slice;
  }
  const double got = host_sum(1000, 17, [&](std::int64_t begin, std::int64_t end) {
    double slice = 0.0;
    for (std::int64_t i = begin; i < end; ++i) slice += term(i);
    return slice;
  });
  CHECK(got == want);
  CHECK(host_sum(0, 5, [](std::int64_t, std::int64_t) { return 1.0; }) == 0.0);
}

}  // namespace espalier
