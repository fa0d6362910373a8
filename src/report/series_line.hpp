#pragma once
#include <string>
#include <vector>

#include "report/axis.hpp"
#include "report/chart.hpp"
#include "report/contours.hpp"

// A series of a chart as it is drawn: its pieces in pixels, its markers, its style.
namespace espalier::report {

/// Points that draw the same line with fewer of them: of those that follow each other in one column
/// of pixels the first, lowest, highest and last.
/// Source: Jugel, Jerzak, Hackenbroich, Markl, M4: A Visualization-Oriented Time Series Data
/// Aggregation (VLDB 2014).
Polyline thinned(const Polyline& points);

/// Of points that are so dense that their scatter would hide other lines: the mean of those that
/// follow each other in a few columns of pixels.
Polyline averaged(const Polyline& points);

struct SeriesLine {
  const Series* series = nullptr;
  int colour = 0, shape = 0, dash = 0;
  bool has_markers = false;
  std::vector<Polyline> pieces;   ///< of a joined series; points that cannot stand divide it
  std::vector<Polyline> scatter;  ///< pale behind it: of dense points all, the pieces being means
  struct Marker {
    Position at;
    std::string label, tooltip;
  };
  std::vector<Marker> markers;  ///< inside the axes, one per pixel
};

/// All series of a chart. Of several lines without markers of their own, each gets a few of its
/// shape along its way, at other places than the rest: colours are not all that tells them apart.
/// (Not `along_lines`: their names stand beside them, and markers could be taken for points.)
std::vector<SeriesLine> series_lines(const XyChart& chart, const Scale& x, const Scale& y,
                                     bool along_lines = true);

}  // namespace espalier::report
