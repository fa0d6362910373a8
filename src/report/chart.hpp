#pragma once
#include <cstddef>
#include <limits>
#include <string>
#include <vector>

namespace espalier::report {

struct Axis {
  std::string title;  ///< with its unit
  bool logarithmic = false;
  /// Ends; nan: from the data. What lies beyond is cut off.
  double low = std::numeric_limits<double>::quiet_NaN();
  double high = std::numeric_limits<double>::quiet_NaN();
  bool powers_of_two = false;  ///< of a logarithmic axis: where its numbers stand
};
struct Point {
  double x, y;
  std::string label = "";  ///< beside it; empty: none
};
/// Points joined by a line, or alone. What an axis has no place for (nan, infinity; zero and less
/// on a logarithmic one) is left out and divides the line. Of points that fall on the same pixels,
/// as many are drawn as can be seen; a line with more than three points for each column of pixels
/// is their mean over four columns, with the points themselves pale behind it.
struct Series {
  std::string name;  ///< in the legend; empty: not there
  std::vector<Point> points;
  bool joined = true;
  bool dashed = false;  ///< each dashed line of a chart in another pattern
  bool marked = false;  ///< a marker at every point, as those have that no line joins
};
/// Something that happened at a place of the x axis, as a restart or a checkpoint.
struct Mark {
  /// line: across the plot, dashed, a triangle at its top; crossed: solid, a cross at its top;
  /// tick: a short stroke at the axis. Where very many stand, only their signs are drawn.
  enum class Sign { line, crossed, tick };
  double x;
  Sign sign = Sign::line;
  std::string tooltip = "";
  int series = -1;  ///< whose colour it has; -1: that of text
};
/// Values over a grid, drawn as lines of equal value with the value written on them.
struct Contours {
  std::vector<double> xs, ys;  ///< ascending
  std::vector<double> values;  ///< (ys, xs), row by row; nan: unknown
  std::vector<double> levels;  ///< empty: about ten
};
// `svg()` of a chart gives an <svg> element that stands alone, 800 pixels wide: nothing in it
// refers to other files, fonts or scripts, its style sheet holds for itself, and it has no ids. It
// may be a file (`write_svg`) or part of an HTML page, next to others. It is readable in light and
// dark, on paper, and without telling colours apart: lines have markers of different shapes, parts
// of bars letters. The same chart gives the same bytes. Texts are any UTF-8. A chart without data
// says so.

/// Lines, points and contours over two axes. With contours the axes span their grid and the points
/// alone; joined series are cut off at the grid's border. Names stand at the ends of lines where
/// those are few and end at the right, otherwise in a legend.
struct XyChart {
  std::string title;
  Axis x, y;
  std::vector<Series> series;
  Contours contours = {};
  std::vector<Mark> marks = {};
  /// What the signs of marks mean, in the order of Mark::Sign; an empty one is not in the legend.
  std::vector<std::string> mark_names = {};
  std::string svg() const;
};

/// Bars of parts that add up, one bar per row, each with its total and by how much it is over the
/// limit. Amounts that are negative, nan or infinite count as zero.
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

/// What several do at the same time: a row for each, with stretches of time from 0 on. Stretches
/// that are no numbers, empty or before 0 are left out.
struct Timeline {
  std::string title;
  std::string unit;  ///< of the times
  struct Part {
    std::string name;  ///< in the legend
    int colour;        ///< of an area (svg.hpp)
  };
  std::vector<Part> parts;
  struct Stretch {
    double begin, end;
    std::size_t part;
    std::string label = "";  ///< in it, where there is room
    std::string tooltip = "";
  };
  struct Row {
    std::string name;
    std::vector<Stretch> stretches;
  };
  std::vector<Row> rows;
  std::string svg() const;
};

/// Writes a new file with a chart; throws Error (bad_configuration) where there is one already,
/// (io_error) where it cannot be written, of which nothing is left then.
void write_svg(const std::string& path, const std::string& svg);

}  // namespace espalier::report
