#pragma once
#include <optional>
#include <string>
#include <vector>

#include "report/contours.hpp"

namespace espalier::report {

struct Box {
  double left, top, right, bottom;
};
/// Area that both cover.
double overlap(const Box& a, const Box& b);

/// Places labels in a rectangle where they cover as little as possible. All in pixels, y downwards;
/// the same calls give the same places.
class Placement {
 public:
  explicit Placement(Box area);

  /// What labels should not cover: a marker, and, less bad, a line.
  void avoid(const Box& box) { boxes_.push_back(box); }
  void avoid(const Polyline& line);

  struct Label {
    Position at;           ///< what it belongs to
    double width, height;  ///< of its text
  };
  /// A place for each label, near its point, all inside the area; later calls avoid them.
  /// They never lie on each other or on a marker where a place within some 100 pixels is free.
  std::vector<Box> place(const std::vector<Label>& labels);

  /// A place for text of this size along a line: its middle and its turn in degrees, readable from
  /// below; nothing where the line has no free part. It is avoided by later calls.
  struct OnLine {
    Position middle;
    double turned;
  };
  std::optional<OnLine> place_on(const Polyline& line, double width, double height);

 private:
  double cost(const Box& box) const;
  double cost_of_way(Position from, const Box& to) const;
  Box area_;
  std::vector<Box> boxes_;
  std::size_t num_columns_;
  std::vector<int> lines_through_;  ///< of each cell of the area, row by row
};

}  // namespace espalier::report
