// Pictures for a terminal.
#include <catch2/catch.hpp>

#include "parallel/schedule/picture.hpp"

using namespace espalier::pipeline;

namespace {

std::string drawn(ScheduleKind kind, const PipelineShape& shape, double f, double b, double w,
                  const PictureOptions& options = {}) {
  const Schedule schedule = make_schedule(kind, shape);
  return picture(schedule, simulate(schedule, even_durations(schedule.placement, f, b, w)),
                 options);
}

}  // namespace

TEST_CASE("a picture has a line a rank and a cell a unit of time", "[picture]") {
  CHECK(drawn(ScheduleKind::one_f_one_b, {2, 3, 1}, 1, 1, 1) ==
        "time 0\n"
        "rank 0 |F0F1 . .B0W0F2B1W1 .B2W2|\n"
        "rank 1 | .F0B0W0F1B1W1F2B2W2 . .|\n");
  const std::string p4 = drawn(ScheduleKind::one_f_one_b, {4, 6, 1}, 1, 1, 1);
  CHECK(p4.find("rank 2 | . .F0F1 . .B0W0F2B1W1F3B2W2F4B3W3F5B4W4 .B5W5 . . . .|") !=
        std::string::npos);
  const std::string zb = drawn(ScheduleKind::zb_h1, {4, 6, 1}, 1, 1, 1);
  CHECK(zb.find("rank 2 | . .F0F1 .B0F2B1F3B2W0F4B3W1F5B4W2B5W3W4W5") != std::string::npos);
}

TEST_CASE("longer actions are drawn through, and chunks are told apart", "[picture]") {
  CHECK(drawn(ScheduleKind::zb_v, {1, 2, 2}, 2, 4, 2) ==
        "time 0\n"
        "rank 0 |F0f0b0--w0F1B0--W0f1b1--w1B1--W1|\n");
  // No action is shorter than two cells, so that a cell of one character holds "F0".
  CHECK(drawn(ScheduleKind::gpipe, {2, 1, 1}, 2, 3, 2) ==
        "time 0\n"
        "rank 0 |F0.......B0-W0|\n"
        "rank 1 |..F0B0-W0.....|\n");
  CHECK(drawn(ScheduleKind::interleaved, {1, 1, 3}, 3, 3, 3) ==
        "time 0\n"
        "rank 0 |F0aF0bF0cB0cW0cB0bW0bB0aW0a|\n");
  // What is shorter than half a cell is not seen.
  CHECK(drawn(ScheduleKind::gpipe, {1, 1, 1}, 10, 10, 1, {.unit = 10}) ==
        "time 0\n"
        "rank 0 |F0B0|\n");
  const Placement three{.shape = Placement::Shape::loop, .ranks = 1, .chunks = 3};
  CHECK(picture_legend(three).find("third chunk") != std::string::npos);
}

TEST_CASE("lines have at most the columns that are asked for, and long pictures are cut",
          "[picture]") {
  for (const int columns : {40, 100}) {
    const std::string text =
        drawn(ScheduleKind::one_f_one_b, {4, 32, 1}, 1, 1, 1, {.columns = columns, .blocks = 4});
    std::size_t begin = 0, lines = 0;
    while (begin < text.size()) {
      const std::size_t end = text.find('\n', begin);
      CHECK(end - begin <= static_cast<std::size_t>(columns));
      begin = end + 1;
      ++lines;
    }
    CHECK(lines <= 4 * 5 + 1);
    CHECK((text.find("it goes on") != std::string::npos) == (columns == 40));
    CHECK(text.find("F0") != std::string::npos);
    CHECK(text.find("W31") != std::string::npos);
  }
}
