#pragma once
#include <string>
#include <string_view>
#include <vector>

#include "report/axis.hpp"
#include "report/svg.hpp"

// What the charts have in common: sizes, title, legend, axis of bars.
namespace espalier::report {

constexpr double kChartWidth = 800.0;
constexpr double kChartMargin = 20.0;
constexpr double kTextSize = 12.0;
constexpr double kLineHeight = 18.0;

/// The words of a text in lines of a width in pixels; what goes beyond the last has an ellipsis.
std::vector<std::string> lines_of(std::string_view text, double width, double size,
                                  std::size_t at_most);

/// The lines of a title that is as wide as the chart.
std::vector<std::string> title_lines(std::string_view title);
/// Draws them and returns the y below.
double draw_title(Canvas& canvas, const std::vector<std::string>& lines);

/// Where the sample of each entry of a legend stands (its left end, on the middle of the text), in
/// as many rows as it takes, from `top` on; `bottom` is below the last.
struct LegendLayout {
  std::vector<Position> samples;
  double bottom;
};
constexpr double kSampleWidth = 30.0;
LegendLayout legend_layout(const std::vector<std::string>& names, double top);
void draw_legend_name(Canvas& canvas, Position sample, std::string_view name);

/// A legend's sample of an area, and its name. `colour`: as Canvas::area.
void draw_area_sample(Canvas& canvas, Position sample, int colour, std::string_view name);

/// In place of a chart's content, around `middle`.
void draw_no_data(Canvas& canvas, Position middle);

/// Where horizontal bars lie, in pixels.
struct BarArea {
  double left, right, top, bottom;
};
/// Their linear axis: grid lines behind the bars, numbers below, and the unit.
void draw_axis_of_bars(Canvas& canvas, const BarArea& area, const Range& range, const Scale& x,
                       std::string_view unit);

/// Text that is cut, with an ellipsis, to a width in pixels.
std::string shortened(std::string_view text, double width, double size = kTextSize);

}  // namespace espalier::report
