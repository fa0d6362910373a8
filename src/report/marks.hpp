#pragma once
#include <string>
#include <vector>

#include "report/axis.hpp"
#include "report/chart.hpp"
#include "report/placement.hpp"
#include "report/svg.hpp"

// Marks of what happened along the x axis of a chart.
namespace espalier::report {

/// Room above the plot for the signs of marks.
constexpr double kMarkHeight = 12.0;

/// XyChart::mark_names of the signs that the chart has; the others empty.
std::vector<std::string> shown_mark_names(const XyChart& chart);
/// Those that the axis shows, one of a sign and series for each pixel. `plot`: inside the axes.
void draw_marks(Canvas& canvas, const std::vector<Mark>& marks, const Box& plot, const Scale& x);
/// In a legend; `at`: its left end, on the middle of the text.
void draw_mark_sample(Canvas& canvas, Mark::Sign sign, Position at);

}  // namespace espalier::report
