#include "report/chart_frame.hpp"

#include "report/unicode.hpp"

namespace espalier::report {
namespace {

constexpr double kTitleSize = 16.0;
constexpr double kTitleHeight = 21.0;
constexpr double kLegendGap = 22.0;  ///< between entries

}  // namespace

std::vector<std::string> title_lines(std::string_view title) {
  // Bold is a tenth wider.
  return lines_of(title, (kChartWidth - 2 * kChartMargin) / 1.1, kTitleSize, 3);
}

std::vector<std::string> lines_of(std::string_view text, double width, double size,
                                  std::size_t at_most) {
  std::vector<std::string> lines(1);
  std::string words = wrapped(printable(text), 1);  // a word per line
  while (!words.empty()) {
    const std::size_t end = words.find('\n');
    const std::string word = words.substr(0, end);
    words.erase(0, end == std::string::npos ? end : end + 1);
    std::string& line = lines.back();
    if (line.empty())
      line = word;
    else if (lines.size() == at_most || text_width(line + " " + word, size) <= width)
      line += " " + word;
    else
      lines.push_back(word);
  }
  for (std::string& line : lines) line = shortened(line, width, size);
  return lines;
}

double draw_title(Canvas& canvas, const std::vector<std::string>& lines) {
  double y = kChartMargin + 12.0;
  for (const std::string& line : lines) {
    if (line.empty()) continue;
    canvas.text(kChartMargin, y, line, {.size = kTitleSize, .bold = true});
    y += kTitleHeight;
  }
  return y - 6.0;
}

LegendLayout legend_layout(const std::vector<std::string>& names, double top) {
  LegendLayout layout{{}, top};
  double x = kChartMargin, y = top + kLineHeight / 2;
  for (const std::string& name : names) {
    // Where Arial is not, another sans-serif is taken; the usual one of Linux is so much wider.
    constexpr double kWiderFont = 1.16;
    const double width = kSampleWidth + 6.0 + kWiderFont * text_width(name, kTextSize);
    if (x > kChartMargin && x + width > kChartWidth - kChartMargin) {
      x = kChartMargin;
      y += kLineHeight;
    }
    layout.samples.push_back({x, y});
    layout.bottom = y + kLineHeight / 2;
    x += width + kLegendGap;
  }
  return layout;
}

void draw_legend_name(Canvas& canvas, Position sample, std::string_view name) {
  const double room = kChartWidth - kChartMargin - sample.x - kSampleWidth - 6.0;
  canvas.text(sample.x + kSampleWidth + 6.0, sample.y + 4.0, shortened(name, room));
}

void draw_area_sample(Canvas& canvas, Position sample, int colour, std::string_view name) {
  canvas.area(sample.x, sample.y - 6.5, kSampleWidth, 13.0, colour);
  draw_legend_name(canvas, sample, name);
}

void draw_no_data(Canvas& canvas, Position middle) {
  canvas.text(middle.x, middle.y, "no data to draw",
              {.size = 15, .anchor = Anchor::middle, .ink = Ink::muted});
}

void draw_axis_of_bars(Canvas& canvas, const BarArea& area, const Range& range, const Scale& x,
                       std::string_view unit) {
  for (const Tick& tick : ticks(range, false, static_cast<int>((area.right - area.left) / 68.0))) {
    const double at = x(tick.value);
    canvas.rule({at, area.top}, {at, area.bottom}, "grid");
    canvas.text(at, area.bottom + 17.0, tick.label, {.anchor = Anchor::middle, .ink = Ink::muted});
  }
  canvas.rule({area.left, area.bottom}, {area.right, area.bottom}, "axis");
  canvas.text((area.left + area.right) / 2, area.bottom + 40.0, unit, {.anchor = Anchor::middle});
}

std::string shortened(std::string_view text, double width, double size) {
  std::string kept = printable(text);
  if (text_width(kept, size) <= width) return kept;
  while (!kept.empty() && text_width(kept + "…", size) > width) {
    // A character has one byte that is no continuation.
    while (!kept.empty() && (static_cast<unsigned char>(kept.back()) & 0xC0) == 0x80)
      kept.pop_back();
    if (!kept.empty()) kept.pop_back();
  }
  return kept + "…";
}

}  // namespace espalier::report
