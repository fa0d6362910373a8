#include <catch2/catch.hpp>
#include <cmath>

#include "commands/bench_scaling_output.hpp"

using namespace espalier;
using bench::ScalingPoint;

namespace {

const double kNan = std::nan("");

ScalingPoint point_of(int ranks, double tokens, double step_s, double planned_s) {
  return {.ranks = ranks,
          .nodes = 1,
          .global_batch_size = 8,
          .tokens = tokens,
          .step_s = step_s,
          .least_s = 0.5 * step_s,
          .most_s = 2.0 * step_s,
          .communication = 0.25,
          .planned_s = {planned_s}};
}

}  // namespace

TEST_CASE("the table of scaling has measured and planned efficiency side by side") {
  const std::vector<ScalingPoint> points = {point_of(1, 1024.0, 1.0, 2.0),
                                            point_of(2, 1024.0, 0.625, 1.0)};
  CHECK(commands::scaling_table(points, {"a host"}).print(report::Format::csv) ==
        "ranks,nodes,global_batch_size,tokens_per_second,tokens_per_second_per_rank,efficiency,"
        "communication_share,step_seconds,step_seconds_min,step_seconds_max,planned_step_seconds,"
        "planned_efficiency\n"
        "1,1,8,1024,1024,1,0.25,1,0.5,2,2,1\n"
        "2,1,8,1638.4,819.2,0.8,0.25,0.625,0.3125,1.25,1,1\n");
}

TEST_CASE("what is not known is empty, and a plan's efficiency is against its own fewest") {
  const std::vector<ScalingPoint> points = {point_of(1, 1024.0, kNan, kNan),
                                            point_of(2, 1024.0, kNan, 1.0),
                                            point_of(4, 1024.0, kNan, 1.0)};
  const std::string csv = commands::scaling_table(points, {"a host"}).print(report::Format::csv);
  CHECK(csv.find("\n1,1,8,,,,0.25,,,,,\n") != std::string::npos);
  CHECK(csv.find("\n2,1,8,,,,0.25,,,,1,1\n") != std::string::npos);
  CHECK(csv.find("\n4,1,8,,,,0.25,,,,1,0.5\n") != std::string::npos);
}

TEST_CASE("the chart of scaling has an axis in powers of two, the spread and the ideal line") {
  const std::vector<ScalingPoint> points = {point_of(1, 1000.0, 1.0, 2.0),
                                            point_of(2, 1000.0, 0.625, kNan),
                                            point_of(4, 1000.0, 0.5, 1.0)};
  const report::XyChart chart = commands::scaling_chart(points, {"a host"}, "scaling");
  CHECK(chart.x.powers_of_two);
  REQUIRE(chart.series.size() == 4);
  CHECK(chart.series[0].points[0].y == 500.0);
  CHECK(chart.series[0].points[1].y == 2000.0);
  CHECK(chart.series[1].points[2].y == 2000.0);
  CHECK(chart.series[2].points[2].y == 1000.0);
  CHECK(chart.series[3].points[2].y == 4000.0);
  const std::string svg = chart.svg();
  for (const char* word : {">measured<", ">ideal<", ">planned<", ">ranks<"})
    CHECK(svg.find(word) != std::string::npos);
}
