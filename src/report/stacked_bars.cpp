#include <fmt/core.h>

#include <algorithm>
#include <cmath>
#include <utility>

#include "base/error.hpp"
#include "report/axis.hpp"
#include "report/chart.hpp"
#include "report/chart_frame.hpp"
#include "report/unicode.hpp"

namespace espalier::report {
namespace {

constexpr double kBarHeight = 26.0;
constexpr double kBarGap = 12.0;
constexpr double kWidestRowName = 230.0;
constexpr double kValueSize = 11.0;

/// What is drawn of an amount: nothing of a negative one or one that is no number.
double drawn(double amount) {
  return can_stand(amount, true) ? amount : 0.0;
}

double total_of(const StackedBars::Row& row) {
  double total = 0.0;
  for (const double amount : row.amounts) total += drawn(amount);
  return total;
}

/// A, B, ... Z, AA, AB: what a part is called inside of bars.
std::string letters_of(std::size_t part) {
  std::string letters(1, static_cast<char>('A' + part % 26));
  return part < 26 ? letters : letters_of(part / 26 - 1) + letters;
}

class BarsDrawing {
 public:
  explicit BarsDrawing(const StackedBars& chart) : chart_(chart), title_(title_lines(chart.title)) {
    for (const StackedBars::Row& row : chart.rows)
      ESPALIER_ASSERT(row.amounts.size() == chart.parts.size(), "{} amounts of {} parts in {}",
                      row.amounts.size(), chart.parts.size(), row.name);
  }

  std::string draw() {
    lay_out();
    Canvas canvas(kChartWidth, bottom_ + 58.0, chart_.title);
    draw_title(canvas, title_);
    if (largest_ == 0.0) {
      draw_no_data(canvas, {kChartWidth / 2, (top_ + bottom_) / 2 + 20.0});
      return std::move(canvas).finish();
    }
    for (std::size_t i = 0; i < chart_.parts.size(); ++i)
      draw_area_sample(canvas, legend_.samples[i], static_cast<int>(i), legend_name(i));
    const Scale x(range_, false, left_, right_);
    draw_axis_of_bars(canvas, {left_, right_, top_, bottom_}, range_, x, chart_.unit);
    double y = top_ + kBarGap;
    for (const StackedBars::Row& row : chart_.rows) {
      draw_bar(canvas, row, y, x);
      y += kBarHeight + kBarGap;
    }
    if (limit_ > 0.0) draw_limit(canvas, x);
    draw_totals(canvas, x);
    return std::move(canvas).finish();
  }

 private:
  void lay_out() {
    double y = kChartMargin + 8.0;
    if (!chart_.title.empty()) y = kChartMargin + 6.0 + 21.0 * static_cast<double>(title_.size());
    std::vector<std::string> names;
    for (std::size_t i = 0; i < chart_.parts.size(); ++i) names.push_back(legend_name(i));
    limit_ = drawn(chart_.limit);
    legend_ = legend_layout(names, y + 4.0);
    top_ = legend_.bottom + 12.0 + (limit_ > 0.0 ? kLineHeight : 0.0);
    bottom_ =
        top_ + kBarGap +
        (kBarHeight + kBarGap) * static_cast<double>(std::max<std::size_t>(1, chart_.rows.size()));
    double name_width = 0.0, total_width = 0.0;
    for (const StackedBars::Row& row : chart_.rows) largest_ = std::max(largest_, total_of(row));
    for (const StackedBars::Row& row : chart_.rows) {
      name_width = std::max(name_width, text_width(printable(row.name), kTextSize));
      total_width = std::max(total_width, text_width(total_text(row), kTextSize) * 1.1);
    }
    left_ = kChartMargin + std::min(name_width, kWidestRowName) + 10.0;
    right_ = kChartWidth - kChartMargin - total_width - 8.0;
    const double values[] = {0.0, largest_, limit_};
    range_ = range_of(values, false, true);
  }

  std::string legend_name(std::size_t part) const {
    return letters_of(part) + "  " + printable(chart_.parts[part]);
  }
  /// With the same decimals for all amounts: three digits of the largest.
  std::string shown(double amount) const {
    if (largest_ >= 1e4 || largest_ < 0.1) return short_number(amount);
    return fmt::format("{:.{}f}", amount,
                       std::max(0, 2 - static_cast<int>(std::floor(std::log10(largest_)))));
  }
  std::string total_text(const StackedBars::Row& row) const {
    const double total = total_of(row);
    if (limit_ > 0.0 && total > limit_)
      return shown(total) + ", " + shown(total - limit_) + " over";
    return shown(total);
  }

  void draw_bar(Canvas& canvas, const StackedBars::Row& row, double y, const Scale& x) const {
    const std::vector<std::string> lines = lines_of(row.name, kWidestRowName, kTextSize, 2);
    const bool is_whole = lines == lines_of(row.name, kWidestRowName, kTextSize, 99);
    double base = y + kBarHeight / 2 + 4.0 - 6.5 * static_cast<double>(lines.size() - 1);
    for (const std::string& line : lines) {
      canvas.text(left_ - 8.0, base, line,
                  {.anchor = Anchor::end, .tooltip = is_whole ? std::string() : row.name});
      base += 13.0;
    }
    double begun = 0.0;
    for (std::size_t i = 0; i < row.amounts.size(); ++i) {
      const double amount = drawn(row.amounts[i]);
      if (amount == 0.0) continue;
      const double left = x(begun), width = x(begun + amount) - left;
      begun += amount;
      canvas.area(left, y, width, kBarHeight, static_cast<int>(i),
                  chart_.parts[i] + ": " + short_number(amount) + " " + chart_.unit);
      // As much as there is room for: letter and value, or the letter.
      const std::string letters = letters_of(i);
      for (const std::string& text : {letters + " " + shown(amount), letters})
        if (text_width(text, kValueSize) + 6.0 <= width) {
          canvas.text(left + width / 2, y + kBarHeight / 2 + 4.0, text,
                      {.size = kValueSize,
                       .anchor = Anchor::middle,
                       .ink = ink_on_area(static_cast<int>(i))});
          break;
        }
    }
    canvas.rule({left_, y - 2.0}, {left_, y + kBarHeight + 2.0}, "axis");
  }

  void draw_limit(Canvas& canvas, const Scale& x) const {
    const double at = x(limit_);
    canvas.rule({at, top_ - 2.0}, {at, bottom_}, "limit");
    const std::string name = printable(chart_.limit_name);
    const std::string text = shortened(name + (name.empty() ? "" : ": ") + short_number(limit_) +
                                           (chart_.unit.empty() ? "" : " " + chart_.unit),
                                       kChartWidth - 2 * kChartMargin);
    const double half = text_width(text, kTextSize) / 2;
    canvas.text(std::clamp(at, kChartMargin + half, kChartWidth - kChartMargin - half), top_ - 7.0,
                text, {.anchor = Anchor::middle});
  }

  void draw_totals(Canvas& canvas, const Scale& x) const {
    double y = top_ + kBarGap;
    for (const StackedBars::Row& row : chart_.rows) {
      canvas.text(x(total_of(row)) + 6.0, y + kBarHeight / 2 + 4.0, total_text(row),
                  {.bold = true, .plate = true});
      y += kBarHeight + kBarGap;
    }
  }

  const StackedBars& chart_;
  std::vector<std::string> title_;
  LegendLayout legend_;
  double limit_ = 0, largest_ = 0;
  double left_ = 0, right_ = 0, top_ = 0, bottom_ = 0;
  Range range_{0, 1};
};

}  // namespace

std::string StackedBars::svg() const {
  return BarsDrawing(*this).draw();
}

}  // namespace espalier::report
