#include "report/marks.hpp"

#include <fmt/core.h>

#include <cmath>
#include <map>
#include <set>
#include <utility>

#include "report/chart_frame.hpp"

namespace espalier::report {
namespace {

constexpr int kTextColour = 4;
constexpr int kTriangle = 4;
constexpr double kTick = 9.0;
constexpr double kArm = 4.0;  ///< of a cross
/// More lines than this across a plot hide what it shows.
constexpr std::size_t kMostLines = 40;

int colour_of(const Mark& mark) {
  return mark.series < 0 ? kTextColour : mark.series % kNumLineColours;
}

void draw_cross(Canvas& canvas, Position at, int colour, const std::string& tooltip) {
  const std::string rule = fmt::format("mark c{}", colour);
  canvas.rule({at.x - kArm, at.y - kArm}, {at.x + kArm, at.y + kArm}, rule, tooltip);
  canvas.rule({at.x - kArm, at.y + kArm}, {at.x + kArm, at.y - kArm}, rule, tooltip);
}

}  // namespace

std::vector<std::string> shown_mark_names(const XyChart& chart) {
  std::vector<std::string> names(chart.mark_names.size());
  for (const Mark& mark : chart.marks) {
    const auto sign = static_cast<std::size_t>(mark.sign);
    if (sign < names.size()) names[sign] = chart.mark_names[sign];
  }
  return names;
}

void draw_marks(Canvas& canvas, const std::vector<Mark>& marks, const Box& plot, const Scale& x) {
  std::map<Mark::Sign, std::size_t> count;
  for (const Mark& mark : marks) ++count[mark.sign];
  std::set<std::pair<int, long>> taken;
  for (const Mark& mark : marks) {
    if (!x.shows(mark.x)) continue;
    const double at = x(mark.x);
    const int colour = colour_of(mark);
    const int which = static_cast<int>(mark.sign) * kNumLineColours + colour;
    if (!taken.emplace(which, std::lround(at)).second) continue;
    const bool crosses_plot = count[mark.sign] <= kMostLines;
    const double sign_y = plot.top - kMarkHeight / 2;
    switch (mark.sign) {
      case Mark::Sign::tick:
        canvas.rule({at, plot.bottom - kTick}, {at, plot.bottom}, fmt::format("mark c{}", colour),
                    mark.tooltip);
        break;
      case Mark::Sign::line:
        if (crosses_plot)
          canvas.rule({at, plot.top}, {at, plot.bottom}, fmt::format("dashed mark c{}", colour),
                      mark.tooltip);
        canvas.marker({at, sign_y}, kTriangle, colour, mark.tooltip);
        break;
      case Mark::Sign::crossed:
        if (crosses_plot)
          canvas.rule({at, plot.top}, {at, plot.bottom}, fmt::format("mark c{}", colour),
                      mark.tooltip);
        draw_cross(canvas, {at, sign_y}, colour, mark.tooltip);
        break;
    }
  }
}

void draw_mark_sample(Canvas& canvas, Mark::Sign sign, Position at) {
  const double middle = at.x + kSampleWidth / 2;
  switch (sign) {
    case Mark::Sign::tick:
      canvas.rule({middle, at.y - kTick / 2}, {middle, at.y + kTick / 2}, "mark c4");
      break;
    case Mark::Sign::line:
      canvas.marker({middle, at.y}, kTriangle, kTextColour);
      break;
    case Mark::Sign::crossed:
      draw_cross(canvas, {middle, at.y}, kTextColour, "");
      break;
  }
}

}  // namespace espalier::report
