#include <catch2/catch.hpp>

#include "base/error.hpp"
#include "plan/time/collective_time.hpp"

using namespace espalier;

namespace {

/// Eight devices at 400 GB/s to a node, 50 GB/s each between nodes, no latency.
config::HardwareParameters eight_at_400() {
  config::HardwareParameters h;
  h.name = "test";
  h.devices_per_node = 8;
  h.link_gbs = 400.0;
  h.network_gbs = 50.0;
  return h;
}

double seconds(const char* collective, double bytes, int ranks, int stride,
               const config::HardwareParameters& h, double calls = 1.0) {
  return plan::collective_seconds(collective, bytes, calls, plan::place_of(ranks, stride, h), h);
}

constexpr double kStart = 6.6e-6;  // before the first step of a collective

}  // namespace

TEST_CASE("a group's ranks share nodes as their distance says") {
  const auto h = eight_at_400();
  CHECK(plan::place_of(8, 1, h).nodes() == 1);
  CHECK(plan::place_of(16, 1, h).nodes() == 2);
  CHECK(plan::place_of(16, 1, h).per_node == 8);
  CHECK(plan::place_of(4, 8, h).nodes() == 4);
  CHECK(plan::place_of(4, 4, h).per_node == 2);
  CHECK(plan::place_of(4, 2, h).nodes() == 1);
  CHECK(plan::place_of(2, 64, h).per_node == 1);
}

TEST_CASE("a ring passes (n-1)/n of the bytes, an all-reduce twice") {
  const auto h = eight_at_400();
  const double bytes = 8e9;
  CHECK(seconds("all_gather", bytes, 8, 1, h) - kStart == Approx(7.0 / 8.0 * 8e9 / 400e9));
  CHECK(seconds("reduce_scatter", bytes, 4, 1, h) - kStart == Approx(3.0 / 4.0 * 8e9 / 400e9));
  CHECK(seconds("all_reduce", bytes, 8, 1, h) - kStart == Approx(2.0 * 7.0 / 8.0 * 8e9 / 400e9));
  CHECK(seconds("all_gather", bytes, 1, 1, h) == 0.0);
}

TEST_CASE("between nodes every rank of the group sends by its own adapter") {
  auto h = eight_at_400();
  // Eight of a node: 8 x 50 GB/s, which is what the ring within the node has, too.
  CHECK(plan::ring_gbs(plan::place_of(16, 1, h), h) == Approx(400.0));
  // Two of a node.
  CHECK(plan::ring_gbs(plan::place_of(16, 4, h), h) == Approx(100.0));
  // One of a node.
  CHECK(plan::ring_gbs(plan::place_of(16, 8, h), h) == Approx(50.0));
  h.network_bus_gbs = 25.0;
  CHECK(plan::ring_gbs(plan::place_of(16, 8, h), h) == Approx(25.0));
  h.link_bus_gbs = 30.0;
  CHECK(plan::ring_gbs(plan::place_of(16, 1, h), h) == Approx(30.0));
}

TEST_CASE("small collectives cost the steps of a ring or of a tree, whichever is shorter") {
  auto h = eight_at_400();
  h.link_latency_us = 1.0;
  CHECK(seconds("all_gather", 8.0, 8, 1, h) == Approx(kStart + 3e-6).epsilon(1e-3));
  h.network_latency_us = 10.0;
  CHECK(seconds("all_gather", 8.0, 64, 1, h) == Approx(kStart + 3e-6 + 30e-6).epsilon(1e-3));
  CHECK(seconds("all_reduce of values", 8.0, 64, 1, h) ==
        Approx(kStart + 2 * (3e-6 + 30e-6)).epsilon(1e-3));
  CHECK(seconds("all_gather", 8e3, 8, 1, h, 1000.0) ==
        Approx(1000.0 * (kStart + 3e-6)).epsilon(1e-3));
}

TEST_CASE("a faster link never slows a collective, more bytes never speed it up") {
  for (const char* collective : {"all_gather", "reduce_scatter", "all_reduce", "broadcast"}) {
    for (const int ranks : {2, 8, 12, 64, 1024}) {
      for (const int stride : {1, 4, 8, 16}) {
        double before = 1e9;
        for (const double factor : {1.0, 1.5, 2.0, 4.0}) {
          auto h = eight_at_400();
          h.link_latency_us = 2.0;
          h.network_latency_us = 5.0;
          h.link_gbs *= factor;
          h.network_gbs *= factor;
          const double now = seconds(collective, 1e8, ranks, stride, h);
          CHECK(now <= before);
          CHECK(seconds(collective, 2e8, ranks, stride, h) >= now);
          before = now;
        }
      }
    }
  }
}

TEST_CASE("a bandwidth that is missing is named") {
  auto h = eight_at_400();
  h.network_gbs = 0.0;
  CHECK_NOTHROW(seconds("all_gather", 1e6, 8, 1, h));
  CHECK_THROWS_WITH(seconds("all_gather", 1e6, 16, 1, h),
                    Catch::Contains("hardware.network_gbs") && Catch::Contains("test"));
  h.link_gbs = 0.0;
  CHECK_THROWS_WITH(seconds("all_gather", 1e6, 8, 1, h), Catch::Contains("hardware.link_gbs"));
}

TEST_CASE("rows are exchanged over the node's links and the adapters at once") {
  const auto h = eight_at_400();
  const double bytes = 8e9;
  // Seven of eight rows leave the rank, all within the node.
  CHECK(seconds("exchange_rows", bytes, 8, 1, h) - kStart == Approx(7.0 / 8.0 * 8e9 / 400e9));
  // Half of them go to the other node, by this rank's adapter.
  CHECK(seconds("exchange_rows", bytes, 16, 1, h) - kStart == Approx(0.5 * 8e9 / 50e9));
  CHECK(seconds("exchange_rows", bytes, 1, 1, h) == 0.0);
  CHECK(seconds("exchange_rows", 0.0, 8, 1, h, 3.0) == Approx(3.0 * kStart));
  CHECK(seconds("all_gather of counts", 64.0, 8, 1, h) < 1e-5);
}

TEST_CASE("groups of experts and of tied embeddings are where their ranks are") {
  const auto h = eight_at_400();
  config::Parameters p;
  p.parallel.tensor = 2;
  p.parallel.data = 8;
  p.parallel.pipeline = 4;
  p.parallel.expert = 8;
  CHECK(plan::place_of_group("expert", p, h).nodes() == 1);
  CHECK(plan::place_of_group("expert", p, h).ranks == 8);
  CHECK(plan::place_of_group("expert data", p, h).ranks == 2);
  CHECK(plan::place_of_group("expert data", p, h).nodes() == 2);
  CHECK(plan::place_of_group("tied", p, h).ranks == 2);
  CHECK(plan::place_of_group("tied", p, h).nodes() == 2);
  CHECK(plan::place_of_group("world", p, h).ranks == 64);
}

TEST_CASE("ranks of a context group are a tensor group apart, and gradients are theirs, too") {
  const auto h = eight_at_400();
  config::Parameters p;
  p.parallel.tensor = 4;
  p.parallel.context = 4;
  p.parallel.data = 2;
  p.parallel.pipeline = 2;
  p.parallel.expert = 8;
  p.model.num_key_value_heads = 2;
  const auto place = [&](const char* group) { return plan::place_of_group(group, p, h); };
  CHECK(place("tensor").nodes() == 1);
  CHECK(place("context").ranks == 4);
  CHECK(place("context").per_node == 2);
  CHECK(place("data").ranks == 8);
  CHECK(place("data").per_node == 2);
  CHECK(place("kv replicas x data").ranks == 16);
  CHECK(place("kv replicas x data").per_node == 4);
  CHECK(place("tensor x data").ranks == 32);
  CHECK(place("expert data").ranks == 4);
  CHECK(place("tied").per_node == 1);
  CHECK(place("world").ranks == 64);
}
