#include <catch2/catch.hpp>

#include "bench/roofline.hpp"

namespace espalier::bench {

TEST_CASE("the floor of work is the larger of its FLOPs and its bytes at the peaks") {
  const Peaks peaks{.flops = 100.0, .bytes = 10.0};
  CHECK(floor_seconds({.name = "product", .seconds = 1, .flops = 300, .bytes = 20}, peaks) == 3.0);
  CHECK(floor_seconds({.name = "norm", .seconds = 1, .flops = 10, .bytes = 20}, peaks) == 2.0);
  CHECK(floor_seconds({.name = "unknown", .seconds = 1}, peaks) == 0.0);
  CHECK(floor_seconds({.name = "norm", .seconds = 1, .flops = 0, .bytes = 20}, {}) == 0.0);
}

TEST_CASE("the roofline table tells what bounds a row and how close it comes") {
  const Peaks peaks{.flops = 100e12, .bytes = 1e12};
  const std::vector<Timed> rows{{.name = "product", .seconds = 2e-3, .flops = 100e9, .bytes = 1e6},
                                {.name = "norm", .seconds = 4e-3, .flops = 1e6, .bytes = 3e9},
                                {.name = "unknown", .seconds = 1e-3}};
  const std::string table = roofline_table(rows, peaks);
  CHECK(table.find("50.0 %  FLOPs") != std::string::npos);
  CHECK(table.find("75.0 %  memory") != std::string::npos);
  CHECK(table.find("unknown") != std::string::npos);
  CHECK(table.find("100.000 TFLOP/s, 1000.0 GB/s") != std::string::npos);
}

TEST_CASE("the largest gaps come first, and no more than asked for") {
  const Peaks peaks{.flops = 1.0, .bytes = 1.0};
  const std::vector<Timed> rows{{.name = "tight", .seconds = 5.0, .flops = 4.9},
                                {.name = "loose", .seconds = 4.0, .flops = 1.0},
                                {.name = "looser", .seconds = 6.0, .bytes = 1.0}};
  const std::string text = largest_gaps(rows, peaks, 2);
  CHECK(text.find("looser") < text.find("loose "));
  CHECK(text.find("loose ") != std::string::npos);
  CHECK(text.find("tight") == std::string::npos);
}

TEST_CASE("a copy has a rate on the host, and none on the emulated GPU") {
  device::Context host;
  CHECK(measure_copy_peak(host, 0.01) > 0.0);
  device::Context emulated(device::Gpu::open(device::Backend::emulated, 0));
  CHECK(measure_copy_peak(emulated, 0.01) == 0.0);
}

}  // namespace espalier::bench
