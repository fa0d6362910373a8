#pragma once
#include <string>
#include <vector>

namespace espalier::report {

struct Axis {
  std::string title;  ///< with its unit
  bool logarithmic = false;
};
struct Point {
  double x, y;
  std::string label = "";  ///< beside it; empty: none
};
/// Points joined by a line, or alone.
struct Series {
  std::string name;  ///< in the legend; empty: not there
  std::vector<Point> points;
  bool joined = true;
  bool dashed = false;
  bool marked = false;  ///< a marker at every point
};
/// Values over a grid, drawn as lines of equal value with the value written on them.
struct Contours {
  std::vector<double> xs, ys;  ///< ascending
  std::vector<double> values;  ///< (ys, xs), row by row
  std::vector<double> levels;  ///< empty: about ten
};
/// An SVG file that stands alone: lines, points and contours over two axes. Readable in light and
/// dark, on paper, and without telling colours apart (lines differ in dashes, markers in shape).
struct XyChart {
  std::string title;
  Axis x, y;
  std::vector<Series> series;
  Contours contours = {};
  std::string svg() const;
};

/// Bars of parts that add up, one bar per row.
struct StackedBars {
  std::string title;
  std::string unit;                ///< of the amounts
  std::vector<std::string> parts;  ///< names, in order
  struct Row {
    std::string name;
    std::vector<double> amounts;  ///< one per part
  };
  std::vector<Row> rows;
  double limit = 0.0;  ///< a line across all bars; 0: none
  std::string limit_name = "";
  std::string svg() const;
};

/// Writes a new file; throws Error (bad_configuration) where there is one, (io_error) where it
/// cannot be written.
void write_svg(const std::string& path, const std::string& svg);

}  // namespace espalier::report
