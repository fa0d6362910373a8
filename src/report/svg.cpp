#include "report/svg.hpp"

#include <fmt/core.h>

#include <array>
#include <cmath>
#include <utility>

#include "report/unicode.hpp"

namespace espalier::report {
namespace {

// Okabe and Ito, Color Universal Design (2008). Lines leave out yellow, which white paper swallows,
// and begin with those that stand out most (classes c0 to c6 of the style sheet; c4 is the text's
// colour). Areas alternate between dark and light ones, so that neighbours differ in grey, too.
constexpr std::array<std::string_view, kNumAreaColours> kAreaColours = {
    "#0072B2", "#E69F00", "#009E73", "#F0E442", "#D55E00", "#56B4E9", "#CC79A7", "#B0B0B0"};
constexpr std::array<std::string_view, 4> kDashes = {"8 4", "2 4", "10 4 2 4", "14 4"};

constexpr std::string_view kStyle = R"(<style>
.espalier-chart{color:#1b1f24;font-family:Arial,Helvetica,"Liberation Sans",sans-serif}
.espalier-chart text{fill:currentColor}
.espalier-chart .muted{fill-opacity:.75}
.espalier-chart .bold{font-weight:bold}
.espalier-chart .paper{fill:#fff}
.espalier-chart .plate{fill:#fff;fill-opacity:.85}
.espalier-chart .rim{stroke:#fff}
.espalier-chart .part{stroke:currentColor;stroke-opacity:.6;stroke-width:.75}
.espalier-chart .white{fill:#fff}
.espalier-chart .black{fill:#000}
.espalier-chart .grid{stroke:currentColor;stroke-opacity:.13}
.espalier-chart .axis{stroke:currentColor;stroke-opacity:.6}
.espalier-chart .leader{stroke:currentColor;stroke-opacity:.5}
.espalier-chart .limit{stroke:currentColor;stroke-width:2;stroke-dasharray:6 3}
.espalier-chart .mark{stroke:currentColor;stroke-width:1.5}
.espalier-chart .dashed{stroke-dasharray:5 3}
.espalier-chart .contour{fill:none;stroke:currentColor;stroke-opacity:.5}
.espalier-chart .c0{color:#0072b2}
.espalier-chart .c1{color:#d55e00}
.espalier-chart .c2{color:#009e73}
.espalier-chart .c3{color:#cc79a7}
.espalier-chart .c5{color:#e69f00}
.espalier-chart .c6{color:#56b4e9}
@media screen and (prefers-color-scheme:dark){
.espalier-chart{color:#e3e6ea}
.espalier-chart .paper,.espalier-chart .plate{fill:#14181d}
.espalier-chart .rim{stroke:#14181d}
.espalier-chart .c0{color:#3391d6}
.espalier-chart .c1{color:#e8731a}
.espalier-chart .c2{color:#16b488}
}
</style>
)";

std::string tooltip_of(std::string_view words) {
  return words.empty() ? "" : fmt::format("<title>{}</title>", xml_escaped(words));
}

std::string path_of(const Polyline& points) {
  std::string path;
  for (const Position& p : points)
    path += (path.empty() ? "M" : "L") + pixels(p.x) + " " + pixels(p.y);
  // A line of one point is a dot, which its round end makes visible.
  if (points.size() == 1) path += "h0";
  return path;
}

/// Of the radius that a circle of the same weight has.
std::string marker_path(Position at, int shape) {
  const auto polygon = [&](std::initializer_list<Position> corners) {
    Polyline points;
    for (const Position& c : corners) points.push_back({at.x + c.x, at.y + c.y});
    return path_of(points) + "Z";
  };
  switch (shape % kNumMarkers) {
    case 1:
      return polygon({{-4, -4}, {4, -4}, {4, 4}, {-4, 4}});
    case 2:
      return polygon({{0, -5.5}, {5, 4}, {-5, 4}});
    case 3:
      return polygon({{0, -6}, {5, 0}, {0, 6}, {-5, 0}});
    case 4:
      return polygon({{0, 5.5}, {5, -4}, {-5, -4}});
    default:  // a plus
      return polygon({{-1.5, -5},
                      {1.5, -5},
                      {1.5, -1.5},
                      {5, -1.5},
                      {5, 1.5},
                      {1.5, 1.5},
                      {1.5, 5},
                      {-1.5, 5},
                      {-1.5, 1.5},
                      {-5, 1.5},
                      {-5, -1.5},
                      {-1.5, -1.5}});
  }
}

}  // namespace

std::string xml_escaped(std::string_view text) {
  std::string escaped;
  for (const char c : printable(text)) switch (c) {
      case '&':
        escaped += "&amp;";
        break;
      case '<':
        escaped += "&lt;";
        break;
      case '>':
        escaped += "&gt;";
        break;
      case '"':
        escaped += "&quot;";
        break;
      case '\'':
        escaped += "&#39;";
        break;
      default:
        escaped += c;
    }
  return escaped;
}

std::string pixels(double value) {
  const double rounded = std::round(value * 100.0) / 100.0 + 0.0;  // no -0
  std::string text = fmt::format("{:.2f}", rounded);
  text.erase(text.find_last_not_of('0') + 1);
  if (text.back() == '.') text.pop_back();
  return text;
}

Ink ink_on_area(int colour) {
  // Of all areas only blue has more contrast with white.
  return colour % kNumAreaColours == 0 ? Ink::white : Ink::black;
}

Canvas::Canvas(double width, double height, std::string_view title) {
  body_ = fmt::format(
      "<svg xmlns=\"http://www.w3.org/2000/svg\" class=\"espalier-chart\" width=\"{0}\" "
      "height=\"{1}\" viewBox=\"0 0 {0} {1}\" role=\"img\">\n<title>{2}</title>\n{3}"
      "<rect class=\"paper\" width=\"{0}\" height=\"{1}\"/>\n",
      pixels(width), pixels(height), xml_escaped(title), kStyle);
}

void Canvas::text(double x, double y, std::string_view words, const TextStyle& style) {
  constexpr std::array<std::string_view, 3> kAnchors = {"start", "middle", "end"};
  std::string classes;
  const auto add = [&](bool wanted, std::string_view name) {
    if (wanted) classes += (classes.empty() ? "" : " ") + std::string(name);
  };
  add(style.bold, "bold");
  constexpr std::array<std::string_view, 4> kInks = {"", "muted", "white", "black"};
  add(style.ink != Ink::full, kInks[static_cast<std::size_t>(style.ink)]);
  const std::string turned = style.turned == 0.0
                                 ? ""
                                 : fmt::format(" transform=\"rotate({} {} {})\"",
                                               pixels(style.turned), pixels(x), pixels(y));
  // A rectangle, since not every viewer knows how to paint a rim below its letters.
  if (style.plate) {
    const double width = text_width(words, style.size) * (style.bold ? 1.1 : 1.0);
    const double left = x - width * static_cast<double>(style.anchor) / 2.0;
    body_ += fmt::format("<rect class=\"plate\" x=\"{}\" y=\"{}\" width=\"{}\" height=\"{}\"{}/>\n",
                         pixels(left - 1.5), pixels(y - 0.85 * style.size), pixels(width + 3.0),
                         pixels(1.1 * style.size), turned);
  }
  body_ += fmt::format("<text x=\"{}\" y=\"{}\" font-size=\"{}\"", pixels(x), pixels(y),
                       pixels(style.size));
  if (style.anchor != Anchor::start)
    body_ += fmt::format(" text-anchor=\"{}\"", kAnchors[static_cast<std::size_t>(style.anchor)]);
  if (!classes.empty()) body_ += fmt::format(" class=\"{}\"", classes);
  body_ += fmt::format("{}>{}{}</text>\n", turned, tooltip_of(style.tooltip), xml_escaped(words));
}

void Canvas::rule(Position from, Position to, std::string_view rule, std::string_view tooltip) {
  body_ += fmt::format("<path class=\"{}\" d=\"{}\"", rule, path_of({from, to}));
  body_ += tooltip.empty() ? "/>\n" : fmt::format(">{}</path>\n", tooltip_of(tooltip));
}

void Canvas::line(const Polyline& points, const LineStyle& style) {
  if (points.empty()) return;
  body_ += fmt::format(
      "<path class=\"c{}\" fill=\"none\" stroke=\"currentColor\" stroke-width=\"{}\" "
      "stroke-linejoin=\"round\" "
      "stroke-linecap=\"{}\"",
      style.colour % kNumLineColours, pixels(style.width), style.dash > 0 ? "butt" : "round");
  if (style.pale) body_ += " stroke-opacity=\".35\"";
  if (style.dash > 0)
    body_ += fmt::format(" stroke-dasharray=\"{}\"",
                         kDashes[static_cast<std::size_t>(style.dash - 1) % kDashes.size()]);
  body_ += fmt::format(" d=\"{}\"/>\n", path_of(points));
}

void Canvas::contour(const Polyline& points) {
  body_ += fmt::format("<path class=\"contour\" d=\"{}\"/>\n", path_of(points));
}

void Canvas::marker(Position at, int shape, int colour, std::string_view tooltip) {
  const std::string paint =
      fmt::format("class=\"rim c{}\" fill=\"currentColor\"", colour % kNumLineColours);
  const std::string content = tooltip_of(tooltip);
  if (shape % kNumMarkers == 0)
    body_ += fmt::format("<circle {} cx=\"{}\" cy=\"{}\" r=\"4.5\">{}</circle>\n", paint,
                         pixels(at.x), pixels(at.y), content);
  else
    body_ += fmt::format("<path {} d=\"{}\">{}</path>\n", paint, marker_path(at, shape), content);
}

void Canvas::area(double left, double top, double width, double height, int colour,
                  std::string_view tooltip) {
  body_ += fmt::format(
      "<rect class=\"part\" fill=\"{}\" x=\"{}\" y=\"{}\" width=\"{}\" height=\"{}\">{}</rect>\n",
      kAreaColours[static_cast<std::size_t>(colour % kNumAreaColours)], pixels(left), pixels(top),
      pixels(width), pixels(height), tooltip_of(tooltip));
}

void Canvas::begin_clip(double left, double top, double width, double height) {
  // An inner image is cut off at its own border and needs no id, as a clip path would.
  body_ += fmt::format(
      "<svg x=\"{0}\" y=\"{1}\" width=\"{2}\" height=\"{3}\" viewBox=\"{0} {1} {2} {3}\">\n",
      pixels(left), pixels(top), pixels(width), pixels(height));
}
void Canvas::end_clip() {
  body_ += "</svg>\n";
}

std::string Canvas::finish() && {
  return std::move(body_) + "</svg>\n";
}

}  // namespace espalier::report
