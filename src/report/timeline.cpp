#include <algorithm>
#include <utility>

#include "base/error.hpp"
#include "report/axis.hpp"
#include "report/chart.hpp"
#include "report/chart_frame.hpp"
#include "report/unicode.hpp"

namespace espalier::report {
namespace {

constexpr double kRowHeight = 22.0;
constexpr double kRowGap = 5.0;
constexpr double kWidestRowName = 160.0;
constexpr double kLabelSize = 8.5;

bool is_drawn(const Timeline::Stretch& s) {
  return can_stand(s.begin, false) && can_stand(s.end, false) && s.begin >= 0.0 && s.end > s.begin;
}

class TimelineDrawing {
 public:
  explicit TimelineDrawing(const Timeline& chart)
      : chart_(chart), title_(title_lines(chart.title)) {
    for (const Timeline::Row& row : chart.rows)
      for (const Timeline::Stretch& s : row.stretches)
        ESPALIER_ASSERT(s.part < chart.parts.size(), "part {} of {} in {}", s.part,
                        chart.parts.size(), row.name);
  }

  std::string draw() {
    lay_out();
    Canvas canvas(kChartWidth, bottom_ + 58.0, chart_.title);
    draw_title(canvas, title_);
    if (end_ == 0.0) {
      draw_no_data(canvas, {kChartWidth / 2, (top_ + bottom_) / 2 + 20.0});
      return std::move(canvas).finish();
    }
    for (std::size_t i = 0; i < chart_.parts.size(); ++i)
      draw_area_sample(canvas, legend_.samples[i], chart_.parts[i].colour,
                       printable(chart_.parts[i].name));
    const Range range{0.0, end_};
    const Scale x(range, false, left_, right_);
    draw_axis_of_bars(canvas, {left_, right_, top_, bottom_}, range, x, chart_.unit);
    double y = top_ + kRowGap;
    for (const Timeline::Row& row : chart_.rows) {
      draw_row(canvas, row, y, x);
      y += kRowHeight + kRowGap;
    }
    return std::move(canvas).finish();
  }

 private:
  void lay_out() {
    double y = kChartMargin + 8.0;
    if (!chart_.title.empty()) y = kChartMargin + 6.0 + 21.0 * static_cast<double>(title_.size());
    std::vector<std::string> names;
    for (const Timeline::Part& part : chart_.parts) names.push_back(printable(part.name));
    legend_ = legend_layout(names, y + 4.0);
    top_ = legend_.bottom + 12.0;
    bottom_ =
        top_ + kRowGap +
        (kRowHeight + kRowGap) * static_cast<double>(std::max<std::size_t>(1, chart_.rows.size()));
    double name_width = 0.0;
    for (const Timeline::Row& row : chart_.rows) {
      name_width = std::max(name_width, text_width(printable(row.name), kTextSize));
      for (const Timeline::Stretch& s : row.stretches)
        if (is_drawn(s)) end_ = std::max(end_, s.end);
    }
    left_ = kChartMargin + std::min(name_width, kWidestRowName) + 10.0;
    right_ = kChartWidth - kChartMargin - 8.0;
  }

  void draw_row(Canvas& canvas, const Timeline::Row& row, double y, const Scale& x) const {
    canvas.text(left_ - 8.0, y + kRowHeight / 2 + 4.0, shortened(row.name, kWidestRowName),
                {.anchor = Anchor::end});
    for (const Timeline::Stretch& s : row.stretches) {
      if (!is_drawn(s)) continue;
      const Timeline::Part& part = chart_.parts[s.part];
      const double left = x(s.begin), width = x(s.end) - left;
      canvas.area(left, y, width, kRowHeight, part.colour, s.tooltip);
      if (!s.label.empty() && text_width(s.label, kLabelSize) + 1.0 <= width)
        canvas.text(
            left + width / 2, y + kRowHeight / 2 + 3.5, s.label,
            {.size = kLabelSize, .anchor = Anchor::middle, .ink = ink_on_area(part.colour)});
    }
  }

  const Timeline& chart_;
  std::vector<std::string> title_;
  LegendLayout legend_;
  double end_ = 0, left_ = 0, right_ = 0, top_ = 0, bottom_ = 0;
};

}  // namespace

std::string Timeline::svg() const {
  return TimelineDrawing(*this).draw();
}

}  // namespace espalier::report
