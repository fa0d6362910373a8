#include <catch2/catch.hpp>
#include <cmath>

#include "report/placement.hpp"
#include "report/series_line.hpp"

using namespace espalier::report;

namespace {

bool inside(const Box& box, const Box& area) {
  return box.left >= area.left && box.right <= area.right && box.top >= area.top &&
         box.bottom <= area.bottom;
}

}  // namespace

TEST_CASE("labels of near points lie inside, beside each other and beside all markers") {
  const Box area{0, 0, 400, 300};
  Placement placement(area);
  std::vector<Placement::Label> labels;
  for (int i = 0; i < 9; ++i)
    labels.push_back({{190.0 + 12 * (i % 3), 140.0 + 12 * (i / 3)}, 60.0, 14.0});
  labels.push_back({{398, 2}, 60.0, 14.0});  // in a corner
  std::vector<Box> taken;
  for (const auto& label : labels) {
    taken.push_back({label.at.x - 5, label.at.y - 5, label.at.x + 5, label.at.y + 5});
    placement.avoid(taken.back());
  }
  for (const Box& box : placement.place(labels)) {
    CHECK(inside(box, area));
    for (const Box& other : taken) CHECK(overlap(box, other) == 0.0);
    taken.push_back(box);
  }
}

TEST_CASE("a label stands right of its point where nothing is in the way, and off a line") {
  Placement free({0, 0, 400, 300});
  CHECK(free.place({{{100, 100}, 60, 14}})[0].left > 100);
  Placement crossed({0, 0, 400, 300});
  crossed.avoid(Polyline{{100, 100}, {400, 100}});
  const Box box = crossed.place({{{100, 100}, 60, 14}})[0];
  CHECK((box.right < 100 || box.top > 100 || box.bottom < 100));
}

TEST_CASE("a line counts where it crosses the area, however far outside its points are") {
  Placement placement({0, 0, 400, 300});
  Polyline line;
  for (int i = 0; i < 20000; ++i) line.push_back({100.0, i % 2 == 0 ? -20000.0 : 20000.0});
  placement.avoid(line);
  const Box box = placement.place({{{95, 100}, 60, 14}})[0];
  CHECK(box.right < 100);
}

TEST_CASE("text wider than the area stands at its left, and text on a line needs a free part") {
  Placement placement({10, 10, 100, 100});
  CHECK(placement.place({{{50, 50}, 300, 14}})[0].left == 10);
  Placement other({0, 0, 400, 300});
  const Polyline line = {{0, 300}, {400, 0}};
  const auto first = other.place_on(line, 30, 10);
  REQUIRE(first.has_value());
  CHECK(first->turned == Approx(-std::atan2(300, 400) * 180 / M_PI));
  CHECK(300 * first->middle.x + 400 * first->middle.y == Approx(120000));
  const auto second = other.place_on(line, 30, 10);
  REQUIRE(second.has_value());
  CHECK(std::hypot(first->middle.x - second->middle.x, first->middle.y - second->middle.y) > 30);
  CHECK_FALSE(other.place_on({{0, 0}, {20, 0}}, 30, 10).has_value());
  other.avoid(Box{0, 0, 400, 300});
  CHECK_FALSE(other.place_on(line, 30, 10).has_value());
}

TEST_CASE("a thinned line keeps first, lowest, highest and last of a column of pixels, in order") {
  Polyline line;
  for (int i = 0; i < 1000; ++i)
    line.push_back({5.0 + i / 1000.0, i == 300 ? -7.0 : i == 700 ? 9.0 : 1.0});
  line.push_back({6.5, 2.0});
  const Polyline kept = thinned(line);
  REQUIRE(kept.size() == 5);
  CHECK(kept[0].x == 5.0);
  CHECK(kept[1].y == -7.0);
  CHECK(kept[2].y == 9.0);
  CHECK(kept[3].x == line[999].x);
  CHECK(kept[4].x == 6.5);
  // What is not dense stays as it is, also backwards and up and down.
  const Polyline few = {{3, 1}, {1, 2}, {1, 9}, {2, 2}};
  CHECK(thinned(few).size() == 4);
  CHECK(thinned({}).empty());
}

TEST_CASE("an averaged line is the mean of a few columns of pixels") {
  Polyline line;
  for (int i = 0; i < 4000; ++i) line.push_back({i / 100.0, i % 2 == 0 ? 4.0 : 6.0});
  const Polyline means = averaged(line);
  CHECK(means.size() == 10);
  for (const Position& p : means) CHECK(p.y == Approx(5.0));
}
