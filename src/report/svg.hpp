#pragma once
#include <string>
#include <string_view>
#include <vector>

#include "report/contours.hpp"

namespace espalier::report {

/// Text for the content or an attribute of an XML element (`printable`, with the five escapes).
std::string xml_escaped(std::string_view text);

/// A coordinate: two decimals at most, so that the same picture has the same bytes everywhere.
std::string pixels(double value);

enum class Anchor { start, middle, end };
/// The last two stand on areas, whose colours are the same in light and dark.
enum class Ink { full, muted, white, black };
struct TextStyle {
  double size = 12.0;
  Anchor anchor = Anchor::start;
  bool bold = false;
  Ink ink = Ink::full;
  bool plate = false;   ///< the paper's colour behind it, for text over lines
  double turned = 0.0;  ///< degrees, clockwise
  std::string tooltip = "";
};

/// Colours are numbered; both lists (lines, areas) begin again when they end.
constexpr int kNumLineColours = 7;
constexpr int kNumAreaColours = 8;
constexpr int kNumMarkers = 6;

Ink ink_on_area(int colour);

struct LineStyle {
  int colour = 0;
  double width = 2.0;
  int dash = 0;  ///< 0: solid; from 1: a pattern
  bool pale = false;
};

/// An SVG image in the making: elements in the order of the calls. Colours come from a style sheet
/// of its own, which has those of Okabe and Ito (told apart by the colour-blind), a dark version
/// for screens, and refers to nothing outside; its rules hold for such images alone, and no element
/// has an id, so that an HTML page may contain several.
class Canvas {
 public:
  Canvas(double width, double height, std::string_view title);

  void text(double x, double y, std::string_view words, const TextStyle& style = {});
  /// `rule` is a class of the style sheet: "grid", "axis", "leader", "limit", "mark" or "dashed
  /// mark"; with one of a colour behind it, "mark c2".
  void rule(Position from, Position to, std::string_view rule, std::string_view tooltip = "");
  void line(const Polyline& points, const LineStyle& style);
  void contour(const Polyline& points);
  void marker(Position at, int shape, int colour, std::string_view tooltip = "");
  void area(double left, double top, double width, double height, int colour,
            std::string_view tooltip = "");
  /// What follows is cut off outside of the rectangle, up to `end_clip`.
  void begin_clip(double left, double top, double width, double height);
  void end_clip();

  std::string finish() &&;

 private:
  std::string body_;
};

}  // namespace espalier::report
