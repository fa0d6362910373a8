#include <catch2/catch.hpp>

#include "base/error.hpp"
#include "plan/time/collective_time.hpp"

using namespace espalier;
using plan::collective_seconds;

namespace {

config::HardwareParameters dgx() {
  config::HardwareParameters h;
  h.name = "a test's GPU";
  h.devices_per_node = 8;
  h.link_gbs = 300.0;
  h.network_gbs = 40.0;
  return h;
}

}  // namespace

TEST_CASE("inside a node a ring sends (n - 1) / n of the bytes over the link") {
  CHECK(collective_seconds("all_gather", 8e9, {8, 1}, dgx()) == Approx(7.0 / 300.0));
  CHECK(collective_seconds("reduce_scatter", 8e9, {4, 2}, dgx()) == Approx(6.0 / 300.0));
  CHECK(collective_seconds("all_reduce", 8e9, {8, 1}, dgx()) == Approx(14.0 / 300.0));
  CHECK(collective_seconds("all_gather", 8e9, {1, 1}, dgx()) == 0.0);
}

TEST_CASE("between nodes as many network adapters work as the group has ranks on a node") {
  // All eight of each of two nodes: 8 x 40 is above the link.
  CHECK(collective_seconds("all_gather", 16e9, {16, 1}, dgx()) == Approx(15.0 / 300.0));
  // Tensor groups of 4: two ranks of a data group on each node.
  CHECK(collective_seconds("all_gather", 16e9, {16, 4}, dgx()) == Approx(15.0 / 80.0));
  // Tensor groups of 8: one.
  CHECK(collective_seconds("all_gather", 16e9, {16, 8}, dgx()) == Approx(15.0 / 40.0));
}

TEST_CASE("messages wait at every rank of a node and once per doubling of the nodes") {
  config::HardwareParameters h = dgx();
  h.link_latency_us = 3.0;
  h.network_latency_us = 10.0;
  CHECK(collective_seconds("all_gather", 0.0, {8, 1}, h) == Approx(21e-6));
  CHECK(collective_seconds("all_gather", 0.0, {64, 1}, h) == Approx(21e-6 + 30e-6));
  CHECK(collective_seconds("all_reduce", 0.0, {64, 8}, h) == Approx(2 * 60e-6));
}

TEST_CASE("a faster link never makes a collective slower") {
  for (const std::int64_t size : {2, 8, 64, 1024})
    for (const std::int64_t stride : {1, 2, 8}) {
      double before = 1e9;
      for (const double link : {10.0, 100.0, 1000.0}) {
        config::HardwareParameters h = dgx();
        h.link_gbs = link;
        const double now = collective_seconds("all_reduce", 1e9, {size, stride}, h);
        CHECK(now <= before);
        before = now;
      }
    }
}

TEST_CASE("a link that is not known is named") {
  config::HardwareParameters h = dgx();
  h.network_gbs = 0.0;
  CHECK_NOTHROW(collective_seconds("all_gather", 1e9, {8, 1}, h));
  CHECK_THROWS_WITH(collective_seconds("all_gather", 1e9, {16, 1}, h),
                    Catch::Contains("hardware.network_gbs is not set for a test's GPU"));
}
