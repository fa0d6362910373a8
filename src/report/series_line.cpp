#include "report/series_line.hpp"

#include <fmt/core.h>

#include <algorithm>
#include <cmath>
#include <set>
#include <utility>

namespace espalier::report {
namespace {

/// Pixels between the markers along a line.
constexpr double kMarkerDistance = 130.0;
/// With more markers than this nobody points at one of them.
constexpr std::size_t kMostTooltips = 400;
/// Points per column of pixels from which on a line is drawn as scatter and mean, and the columns
/// of a mean.
constexpr double kDense = 3.0;
constexpr double kMeanWidth = 4.0;
/// Far outside of any chart, where a line is cut off; larger numbers trouble some viewers.
constexpr double kFar = 20000.0;

bool stands(const Point& p, const Scale& x, const Scale& y) {
  return can_stand(p.x, x.logarithmic()) && can_stand(p.y, y.logarithmic());
}

Position position_of(const Point& p, const Scale& x, const Scale& y) {
  return {std::clamp(x(p.x), -kFar, kFar), std::clamp(y(p.y), -kFar, kFar)};
}

void draw_pieces(SeriesLine& line, const Scale& x, const Scale& y) {
  std::vector<Polyline> pieces(1);
  std::size_t num_points = 0;
  for (const Point& p : line.series->points) {
    if (stands(p, x, y)) {
      pieces.back().push_back(position_of(p, x, y));
      ++num_points;
    } else if (!pieces.back().empty()) {
      pieces.emplace_back();
    }
  }
  if (pieces.back().empty()) pieces.pop_back();
  const double columns = x(x.range().high) - x(x.range().low);
  const bool is_dense = !line.series->marked && static_cast<double>(num_points) > kDense * columns;
  for (const Polyline& piece : pieces) {
    if (is_dense) line.scatter.push_back(thinned(piece));
    line.pieces.push_back(is_dense ? averaged(piece) : thinned(piece));
  }
}

std::vector<SeriesLine::Marker> markers_at_points(const XyChart& chart, const Series& series,
                                                  const Scale& x, const Scale& y) {
  std::vector<SeriesLine::Marker> markers;
  const auto title = [](const Axis& axis) { return axis.title.empty() ? "" : axis.title + ": "; };
  std::set<std::pair<long, long>> taken;
  for (const Point& p : series.points) {
    if (!x.shows(p.x) || !y.shows(p.y)) continue;
    const Position at = position_of(p, x, y);
    if (!taken.emplace(std::lround(at.x), std::lround(at.y)).second && p.label.empty()) continue;
    const std::string& name = p.label.empty() ? series.name : p.label;
    markers.push_back({at, p.label,
                       fmt::format("{}{}{}{}, {}{}", name, name.empty() ? "" : "; ", title(chart.x),
                                   short_number(p.x, 4), title(chart.y), short_number(p.y, 4))});
  }
  if (markers.size() > kMostTooltips)
    for (SeriesLine::Marker& marker : markers) marker.tooltip.clear();
  return markers;
}

/// At points of the line near every kMarkerDistance pixels, the first `share` of it from the left.
std::vector<SeriesLine::Marker> markers_along(const SeriesLine& line, double share, const Scale& x,
                                              const Scale& y) {
  std::vector<SeriesLine::Marker> markers;
  const double left = x(x.range().low), right = x(x.range().high);
  const auto [top, bottom] = std::minmax({y(y.range().low), y(y.range().high)});
  for (double wanted = left + share * kMarkerDistance; wanted < right; wanted += kMarkerDistance) {
    const Position* nearest = nullptr;
    for (const Polyline& piece : line.pieces)
      for (const Position& p : piece)
        if (p.x >= left && p.x <= right && p.y >= top && p.y <= bottom &&
            (nearest == nullptr || std::abs(p.x - wanted) < std::abs(nearest->x - wanted)))
          nearest = &p;
    if (nearest == nullptr) break;
    if (std::abs(nearest->x - wanted) > kMarkerDistance / 2) continue;
    if (markers.empty() || markers.back().at.x != nearest->x) markers.push_back({*nearest, "", ""});
  }
  return markers;
}

}  // namespace

Polyline thinned(const Polyline& points) {
  Polyline kept;
  for (std::size_t begin = 0; begin < points.size();) {
    const double column = std::floor(points[begin].x);
    std::size_t end = begin, lowest = begin, highest = begin;
    for (; end < points.size() && std::floor(points[end].x) == column; ++end) {
      if (points[end].y < points[lowest].y) lowest = end;
      if (points[end].y > points[highest].y) highest = end;
    }
    std::size_t last = points.size();
    for (const std::size_t i :
         {begin, std::min(lowest, highest), std::max(lowest, highest), end - 1}) {
      if (i != last) kept.push_back(points[i]);
      last = i;
    }
    begin = end;
  }
  return kept;
}

Polyline averaged(const Polyline& points) {
  Polyline means;
  for (std::size_t begin = 0; begin < points.size();) {
    const double column = std::floor(points[begin].x / kMeanWidth);
    Position sum{0.0, 0.0};
    std::size_t end = begin;
    for (; end < points.size() && std::floor(points[end].x / kMeanWidth) == column; ++end) {
      sum.x += points[end].x;
      sum.y += points[end].y;
    }
    const auto count = static_cast<double>(end - begin);
    means.push_back({sum.x / count, sum.y / count});
    begin = end;
  }
  return means;
}

std::vector<SeriesLine> series_lines(const XyChart& chart, const Scale& x, const Scale& y,
                                     bool along_lines) {
  std::vector<SeriesLine> lines;
  int dashes = 0, bare = 0, bare_before = 0;
  const auto is_bare = [](const Series& s) { return s.joined && !s.marked && !s.points.empty(); };
  for (const Series& series : chart.series) bare += is_bare(series) ? 1 : 0;
  for (const Series& series : chart.series) {
    SeriesLine line;
    line.series = &series;
    line.colour = line.shape = static_cast<int>(lines.size());
    if (series.joined && series.dashed) line.dash = ++dashes;
    if (series.joined) draw_pieces(line, x, y);
    line.has_markers =
        !series.joined || series.marked || (along_lines && is_bare(series) && bare > 1);
    if (!series.joined || series.marked)
      line.markers = markers_at_points(chart, series, x, y);
    else if (line.has_markers)
      line.markers = markers_along(line, (bare_before++ + 0.5) / bare, x, y);
    // A label is shown at its point whether or not the line has markers.
    if (series.joined && !series.marked)
      for (const SeriesLine::Marker& marker : markers_at_points(chart, series, x, y))
        if (!marker.label.empty()) line.markers.push_back(marker);
    lines.push_back(std::move(line));
  }
  return lines;
}

}  // namespace espalier::report
