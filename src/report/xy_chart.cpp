#include <algorithm>
#include <cmath>
#include <limits>
#include <numbers>
#include <utility>

#include "base/error.hpp"
#include "report/axis.hpp"
#include "report/chart.hpp"
#include "report/chart_frame.hpp"
#include "report/marks.hpp"
#include "report/placement.hpp"
#include "report/series_line.hpp"
#include "report/unicode.hpp"

namespace espalier::report {
namespace {

constexpr double kPlotHeight = 380.0;
constexpr double kBelowPlot = 62.0;  ///< numbers and title of the x axis
constexpr double kTickLength = 5.0;
constexpr double kPointTextSize = 11.5;
constexpr double kContourTextSize = 10.5;
constexpr int kNumContours = 10;
/// Names stand at the ends of so many lines at most, if they are no wider.
constexpr std::size_t kMostNamesAtEnds = 6;
constexpr double kWidestNameAtEnd = 190.0;

bool has_grid(const Contours& contours) {
  return contours.xs.size() > 1 && contours.ys.size() > 1;
}

/// What an axis covers. With contours their grid and the points that no line joins: a curve may
/// leave it, and is cut off.
Range range_of_axis(const XyChart& chart, const Axis& axis, double Point::*coordinate,
                    const std::vector<double>& grid) {
  const bool gridded = has_grid(chart.contours);
  std::vector<double> values;
  if (gridded) values = grid;
  for (const Series& series : chart.series)
    for (const Point& p : series.points)
      // A point takes part in both ranges or in none.
      if (!(gridded && series.joined) && can_stand(p.x, chart.x.logarithmic) &&
          can_stand(p.y, chart.y.logarithmic))
        values.push_back(p.*coordinate);
  Range range = range_of(values, axis.logarithmic, gridded);
  const Range wished = {std::isnan(axis.low) ? range.low : axis.low,
                        std::isnan(axis.high) ? range.high : axis.high};
  return is_range(wished, axis.logarithmic) ? wished : range;
}

std::vector<Tick> ticks_along(const Axis& axis, Range range, int at_most) {
  if (axis.logarithmic && axis.powers_of_two) return ticks_of_two(range, at_most);
  return ticks(range, axis.logarithmic, at_most);
}

/// As few digits, three at least, as tell the levels apart.
std::vector<std::string> level_labels(const std::vector<double>& levels) {
  std::vector<std::string> labels;
  for (int digits = 3; digits < 12; ++digits) {
    labels.clear();
    for (const double level : levels) labels.push_back(short_number(level, digits));
    if (std::adjacent_find(labels.begin(), labels.end()) == labels.end()) break;
  }
  // 2.40 beside 2.36, where no letter or power follows.
  const auto decimals = [](const std::string& label) {
    const std::size_t point = label.find('.');
    return point == std::string::npos ? 0 : label.size() - point - 1;
  };
  std::size_t most = 0;
  for (const std::string& label : labels) {
    if (label.find_first_not_of("-.0123456789") != std::string::npos) return labels;
    most = std::max(most, decimals(label));
  }
  for (std::string& label : labels) {
    if (decimals(label) == 0 && most > 0) label += '.';
    label.append(most - decimals(label), '0');
  }
  return labels;
}

/// Moves positions, ascending, apart until each pair is `distance` apart, within the bounds.
void spread(std::vector<double>& ys, double distance, double top, double bottom) {
  double least = top;
  for (double& y : ys) {
    y = std::max(y, least);
    least = y + distance;
  }
  double most = bottom;
  for (std::size_t i = ys.size(); i-- > 0;) {
    ys[i] = std::min(ys[i], most);
    most = ys[i] - distance;
  }
}

class XyDrawing {
 public:
  explicit XyDrawing(const XyChart& chart)
      : chart_(chart),
        x_range_(range_of_axis(chart, chart.x, &Point::x, chart.contours.xs)),
        y_range_(range_of_axis(chart, chart.y, &Point::y, chart.contours.ys)),
        title_(title_lines(chart.title)) {}

  std::string draw() {
    lay_out();
    Canvas canvas(kChartWidth, bottom_ + kBelowPlot, chart_.title);
    draw_title(canvas, title_);
    const Scale x(x_range_, chart_.x.logarithmic, left_, right_);
    const Scale y(y_range_, chart_.y.logarithmic, bottom_, top_);
    const bool any_points = std::any_of(chart_.series.begin(), chart_.series.end(),
                                        [](const Series& s) { return !s.joined || s.marked; });
    const std::vector<SeriesLine> lines =
        series_lines(chart_, x, y, !(names_at_ends_ && any_points));
    draw_legend(canvas, lines);
    Placement placement({left_ + 1, top_ + 1, right_ - 1, bottom_ - 1});
    const bool any_contour = draw_contours(x, y);
    if (!any_contour && std::all_of(lines.begin(), lines.end(), [](const SeriesLine& line) {
          return line.pieces.empty() && line.markers.empty();
        })) {
      draw_no_data(canvas, {(left_ + right_) / 2, (top_ + bottom_) / 2});
      return std::move(canvas).finish();
    }
    draw_axes(canvas, x, y);
    draw_marks(canvas, chart_.marks, {left_, top_, right_, bottom_}, x);
    draw_lines(canvas, lines, placement);
    draw_labels(canvas, lines, placement);
    if (names_at_ends_) draw_names_at_ends(canvas, lines);
    return std::move(canvas).finish();
  }

 private:
  void lay_out() {
    double y = kChartMargin + 8.0;
    if (!chart_.title.empty()) y = kChartMargin + 6.0 + 21.0 * static_cast<double>(title_.size());
    choose_names_at_ends();
    std::vector<std::string> names;
    for (const Series& series : chart_.series)
      if (is_in_legend(series)) names.push_back(printable(series.name));
    for (const std::string& name : shown_mark_names(chart_))
      if (!name.empty()) names.push_back(printable(name));
    legend_ = legend_layout(names, names.empty() ? y - 8.0 : y + 4.0);
    top_ = legend_.bottom + 12.0;
    if (!chart_.y.title.empty()) top_ += kLineHeight + 2.0;
    if (!chart_.marks.empty()) top_ += kMarkHeight;
    bottom_ = top_ + kPlotHeight;
    y_ticks_ = ticks_along(chart_.y, y_range_, static_cast<int>(kPlotHeight / 38.0));
    double widest = 0.0;
    for (const Tick& tick : y_ticks_) widest = std::max(widest, text_width(tick.label, kTextSize));
    left_ = kChartMargin + widest + kTickLength + 5.0;
    right_ = kChartWidth - kChartMargin - 4.0 -
             (names_at_ends_ ? name_width_ + kSampleWidth + 16.0 : 0.0);
    x_ticks_ = ticks_along(chart_.x, x_range_, static_cast<int>((right_ - left_) / 68.0));
  }

  bool is_in_legend(const Series& series) const {
    return !series.name.empty() && !(names_at_ends_ && series.joined);
  }

  /// At the ends of lines their names need no legend, when all end at the right.
  void choose_names_at_ends() {
    if (has_grid(chart_.contours)) return;
    const Scale share(x_range_, chart_.x.logarithmic, 0.0, 1.0);
    std::size_t num_names = 0;
    for (const Series& series : chart_.series) {
      if (series.name.empty() || !series.joined) continue;
      if (++num_names > kMostNamesAtEnds) return;
      const auto last =
          std::find_if(series.points.rbegin(), series.points.rend(), [&](const Point& p) {
            return can_stand(p.x, chart_.x.logarithmic) && can_stand(p.y, chart_.y.logarithmic);
          });
      if (last == series.points.rend() || share(last->x) < 0.8) return;
      name_width_ = std::max(name_width_, text_width(printable(series.name), kTextSize));
    }
    names_at_ends_ = num_names > 0 && name_width_ <= kWidestNameAtEnd;
  }

  void draw_sample(Canvas& canvas, const SeriesLine& line, double left, double y) const {
    if (line.series->joined)
      canvas.line({{left, y}, {left + kSampleWidth, y}}, {line.colour, 2.0, line.dash});
    if (line.has_markers) canvas.marker({left + kSampleWidth / 2, y}, line.shape, line.colour);
  }

  void draw_legend(Canvas& canvas, const std::vector<SeriesLine>& lines) const {
    auto sample = legend_.samples.begin();
    for (const SeriesLine& line : lines) {
      if (!is_in_legend(*line.series)) continue;
      draw_sample(canvas, line, sample->x, sample->y);
      draw_legend_name(canvas, *sample++, line.series->name);
    }
    const std::vector<std::string> names = shown_mark_names(chart_);
    for (std::size_t i = 0; i < names.size(); ++i) {
      if (names[i].empty()) continue;
      draw_mark_sample(canvas, static_cast<Mark::Sign>(i), *sample);
      draw_legend_name(canvas, *sample++, names[i]);
    }
  }

  void draw_axes(Canvas& canvas, const Scale& x, const Scale& y) const {
    double free_from = -1.0;
    for (const Tick& tick : x_ticks_) {
      const double at = x(tick.value), half = text_width(tick.label, kTextSize) / 2;
      const bool labelled = !tick.label.empty() && at - half > free_from;
      if (labelled) {
        free_from = at + half + 8.0;
        canvas.rule({at, top_}, {at, bottom_}, "grid");
        canvas.text(at, bottom_ + 19.0, tick.label, {.anchor = Anchor::middle, .ink = Ink::muted});
      }
      canvas.rule({at, bottom_}, {at, bottom_ + (labelled ? kTickLength : 3.0)}, "axis");
    }
    free_from = bottom_ + kLineHeight;
    for (const Tick& tick : y_ticks_) {
      const double at = y(tick.value);
      const bool labelled = !tick.label.empty() && at < free_from;
      if (labelled) {
        free_from = at - 14.0;
        canvas.rule({left_, at}, {right_, at}, "grid");
        canvas.text(left_ - kTickLength - 4.0, at + 4.0, tick.label,
                    {.anchor = Anchor::end, .ink = Ink::muted});
      }
      canvas.rule({left_ - (labelled ? kTickLength : 3.0), at}, {left_, at}, "axis");
    }
    canvas.rule({left_, top_}, {left_, bottom_}, "axis");
    canvas.rule({left_, bottom_}, {right_, bottom_}, "axis");
    if (!chart_.x.title.empty())
      canvas.text((left_ + right_) / 2, bottom_ + 43.0,
                  shortened(chart_.x.title, kChartWidth - 2 * kChartMargin),
                  {.anchor = Anchor::middle});
    if (!chart_.y.title.empty())
      canvas.text(kChartMargin, top_ - 14.0 - (chart_.marks.empty() ? 0.0 : kMarkHeight),
                  shortened(chart_.y.title, kChartWidth - 2 * kChartMargin));
  }

  /// Finds the contours; they are drawn with the lines. False: there are none.
  bool draw_contours(const Scale& x, const Scale& y) {
    const Contours& c = chart_.contours;
    ESPALIER_ASSERT(c.values.size() == c.xs.size() * c.ys.size(), "{} values on a grid of {} x {}",
                    c.values.size(), c.ys.size(), c.xs.size());
    if (!has_grid(c)) return false;
    // In pixels, so that lines between nodes are straight on the axes as they are.
    const auto placed = [](const std::vector<double>& at, const Scale& scale) {
      std::vector<double> list;
      for (const double v : at)
        list.push_back(can_stand(v, scale.logarithmic())
                           ? scale(v)
                           : std::numeric_limits<double>::quiet_NaN());
      return list;
    };
    const std::vector<double> xs = placed(c.xs, x), ys = placed(c.ys, y);
    std::vector<double> values = c.values;
    for (std::size_t i = 0; i < values.size(); ++i)
      if (std::isnan(xs[i % xs.size()]) || std::isnan(ys[i / xs.size()]))
        values[i] = std::numeric_limits<double>::quiet_NaN();
    levels_ = c.levels.empty() ? contour_levels(values, kNumContours) : c.levels;
    bool any = false;
    for (const double level : levels_) {
      contours_.push_back(contour_lines(xs, ys, values, level));
      any = any || !contours_.back().empty();
    }
    return any;
  }

  void draw_lines(Canvas& canvas, const std::vector<SeriesLine>& lines,
                  Placement& placement) const {
    // A line along the border is as wide as others.
    canvas.begin_clip(left_ - 1, top_ - 1, right_ - left_ + 2, bottom_ - top_ + 2);
    for (const auto& level : contours_)
      for (const Polyline& line : level) {
        canvas.contour(line);
        placement.avoid(line);
      }
    for (const SeriesLine& line : lines)
      for (const Polyline& piece : line.scatter)
        canvas.line(piece, {.colour = line.colour, .width = 1.0, .pale = true});
    for (const SeriesLine& line : lines)
      for (const Polyline& piece : line.pieces) {
        canvas.line(piece, {line.colour, 2.0, line.dash});
        // Twice: a curve is worse to cover than a contour.
        placement.avoid(piece);
        placement.avoid(piece);
      }
    canvas.end_clip();
    for (const SeriesLine& line : lines)
      for (const SeriesLine::Marker& m : line.markers) {
        canvas.marker(m.at, line.shape, line.colour, m.tooltip);
        placement.avoid(Box{m.at.x - 6, m.at.y - 6, m.at.x + 6, m.at.y + 6});
      }
  }

  void draw_labels(Canvas& canvas, const std::vector<SeriesLine>& lines,
                   Placement& placement) const {
    std::vector<Placement::Label> labels;
    std::vector<std::string> texts;
    for (const SeriesLine& line : lines)
      for (const SeriesLine::Marker& m : line.markers)
        if (!m.label.empty()) {
          texts.push_back(printable(m.label));
          labels.push_back({m.at, text_width(texts.back(), kPointTextSize) + 4.0, 14.0});
        }
    const std::vector<Box> boxes = placement.place(labels);
    for (std::size_t i = 0; i < boxes.size(); ++i) {
      const Box& box = boxes[i];
      const Position at = labels[i].at, near = {std::clamp(at.x, box.left + 2, box.right - 2),
                                                std::clamp(at.y, box.top + 2, box.bottom - 2)};
      const double distance = std::hypot(near.x - at.x, near.y - at.y);
      // From the rim of the marker, where the label does not stand right beside it.
      if (distance > 15.0)
        canvas.rule({at.x + (near.x - at.x) * 6 / distance, at.y + (near.y - at.y) * 6 / distance},
                    near, "leader");
    }
    // Contours tell their level where points leave them room; longer pieces first.
    const std::vector<std::string> values = level_labels(levels_);
    for (std::size_t i = 0; i < contours_.size(); ++i)
      for (const Polyline& line : contours_[i]) {
        const double width = text_width(values[i], kContourTextSize);
        if (const auto place = placement.place_on(line, width, 11.0)) {
          // The base line lies below the middle, also in a turned text.
          const double turned = place->turned * std::numbers::pi / 180.0;
          canvas.text(place->middle.x - 3.5 * std::sin(turned),
                      place->middle.y + 3.5 * std::cos(turned), values[i],
                      {.size = kContourTextSize,
                       .anchor = Anchor::middle,
                       .plate = true,
                       .turned = place->turned});
        }
      }
    for (std::size_t i = 0; i < boxes.size(); ++i)
      canvas.text(boxes[i].left + 2, boxes[i].bottom - 3, texts[i],
                  {.size = kPointTextSize, .plate = true});
  }

  void draw_names_at_ends(Canvas& canvas, const std::vector<SeriesLine>& lines) const {
    struct Name {
      const SeriesLine* line;
      Position end;
    };
    std::vector<Name> names;
    for (const SeriesLine& line : lines)
      if (!line.series->name.empty() && !line.pieces.empty()) {
        const Position end = line.pieces.back().back();
        names.push_back({&line, {end.x, std::clamp(end.y, top_, bottom_)}});
      }
    std::stable_sort(names.begin(), names.end(),
                     [](const Name& a, const Name& b) { return a.end.y < b.end.y; });
    std::vector<double> ys;
    for (const Name& name : names) ys.push_back(name.end.y);
    spread(ys, 16.0, top_ + 6, bottom_ - 6);
    for (std::size_t i = 0; i < names.size(); ++i) {
      const Position end = names[i].end;
      canvas.rule({std::min(end.x, right_) + 3.0, end.y}, {right_ + 10.0, ys[i]}, "leader");
      draw_sample(canvas, *names[i].line, right_ + 12.0, ys[i]);
      canvas.text(right_ + kSampleWidth + 17.0, ys[i] + 4.0, names[i].line->series->name);
    }
  }

  const XyChart& chart_;
  Range x_range_, y_range_;
  std::vector<std::string> title_;
  bool names_at_ends_ = false;
  double name_width_ = 0.0;
  LegendLayout legend_;
  double left_ = 0, right_ = 0, top_ = 0, bottom_ = 0;
  std::vector<Tick> x_ticks_, y_ticks_;
  std::vector<double> levels_;
  std::vector<std::vector<Polyline>> contours_;  ///< of each level
};

}  // namespace

std::string XyChart::svg() const {
  return XyDrawing(*this).draw();
}

}  // namespace espalier::report
