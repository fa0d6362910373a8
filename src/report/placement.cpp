#include "report/placement.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <numbers>

namespace espalier::report {
namespace {

/// Pixels of the cells in which lines are noted, and between points of a way that stand for it.
constexpr double kCell = 4.0;
/// What covering another label or marker wholly costs, a cell with a line, and a point of the way
/// from a label to what it belongs to that lies in another label; distance costs, too.
constexpr double kCostOfBox = 2000.0, kCostOfLine = 3.0, kCostOfWay = 60.0;

std::size_t cell_of(double distance) {
  return static_cast<std::size_t>(std::max(0.0, distance) / kCell);
}

bool contains(const Box& box, Position p) {
  return p.x > box.left && p.x < box.right && p.y > box.top && p.y < box.bottom;
}

double length(Position a, Position b) {
  return std::hypot(b.x - a.x, b.y - a.y);
}

/// Beside the point at a distance, to the right first; those between the first eight only when they
/// are much better.
constexpr std::array<Position, 16> kDirections = {{{1, 0},
                                                   {-1, 0},
                                                   {0, -1},
                                                   {0, 1},
                                                   {1, -1},
                                                   {1, 1},
                                                   {-1, -1},
                                                   {-1, 1},
                                                   {1, -.5},
                                                   {1, .5},
                                                   {-1, -.5},
                                                   {-1, .5},
                                                   {.5, -1},
                                                   {.5, 1},
                                                   {-.5, -1},
                                                   {-.5, 1}}};
constexpr std::array kDistances = {8.0, 18.0, 30.0, 44.0, 60.0, 80.0, 105.0};

Box beside(const Placement::Label& label, Position direction, double distance) {
  // In every direction as far from the point.
  const double reach = distance / std::hypot(direction.x, direction.y);
  const double x = label.at.x + direction.x * (reach + label.width / 2);
  const double y = label.at.y + direction.y * (reach + label.height / 2);
  return {x - label.width / 2, y - label.height / 2, x + label.width / 2, y + label.height / 2};
}

/// Where on the line `along` pixels from its beginning are.
Position point_at(const Polyline& line, double along) {
  for (std::size_t i = 1; i < line.size(); ++i) {
    const double piece = length(line[i - 1], line[i]);
    if (along <= piece && piece > 0.0) {
      const double t = along / piece;
      return {line[i - 1].x + t * (line[i].x - line[i - 1].x),
              line[i - 1].y + t * (line[i].y - line[i - 1].y)};
    }
    along -= piece;
  }
  return line.back();
}

double length_of(const Polyline& line) {
  double sum = 0.0;
  for (std::size_t i = 1; i < line.size(); ++i) sum += length(line[i - 1], line[i]);
  return sum;
}

}  // namespace

double overlap(const Box& a, const Box& b) {
  const double width = std::min(a.right, b.right) - std::max(a.left, b.left);
  const double height = std::min(a.bottom, b.bottom) - std::max(a.top, b.top);
  return width > 0.0 && height > 0.0 ? width * height : 0.0;
}

Placement::Placement(Box area) : area_(area) {
  num_columns_ = static_cast<std::size_t>((area.right - area.left) / kCell) + 1;
  const auto num_rows = static_cast<std::size_t>((area.bottom - area.top) / kCell) + 1;
  lines_through_.assign(num_columns_ * num_rows, 0);
}

void Placement::avoid(const Polyline& line) {
  std::vector<std::size_t> cells;
  for (std::size_t i = 0; i < line.size(); ++i) {
    const Position from = line[i > 0 ? i - 1 : 0], to = line[i];
    // The part of the piece within the area (Liang and Barsky, 1984).
    double first = 0.0, last = 1.0;
    const auto keep = [&](double begin, double step, double low, double high) {
      if (step == 0.0) {
        if (begin < low || begin > high) last = -1.0;
        return;
      }
      const auto [enter, leave] = std::minmax({(low - begin) / step, (high - begin) / step});
      first = std::max(first, enter);
      last = std::min(last, leave);
    };
    keep(from.x, to.x - from.x, area_.left, area_.right);
    keep(from.y, to.y - from.y, area_.top, area_.bottom);
    if (first > last) continue;
    const int steps = static_cast<int>((last - first) * length(from, to) / kCell) + 1;
    for (int k = 0; k <= steps; ++k) {
      const double t = first + k * (last - first) / steps;
      const Position p = {from.x + t * (to.x - from.x), from.y + t * (to.y - from.y)};
      cells.push_back(cell_of(p.y - area_.top) * num_columns_ + cell_of(p.x - area_.left));
    }
  }
  // A line counts once in a cell, however often it comes there.
  std::sort(cells.begin(), cells.end());
  cells.erase(std::unique(cells.begin(), cells.end()), cells.end());
  for (const std::size_t cell : cells)
    if (cell < lines_through_.size()) ++lines_through_[cell];
}

double Placement::cost(const Box& box) const {
  if (box.left < area_.left || box.right > area_.right || box.top < area_.top ||
      box.bottom > area_.bottom)
    return std::numeric_limits<double>::infinity();
  double sum = 0.0;
  const double size = (box.right - box.left) * (box.bottom - box.top);
  for (const Box& other : boxes_)
    if (const double covered = overlap(box, other); covered > 0.0)
      sum += kCostOfBox * (0.5 + covered / size);
  for (std::size_t row = cell_of(box.top - area_.top); row <= cell_of(box.bottom - area_.top);
       ++row)
    for (std::size_t column = cell_of(box.left - area_.left);
         column <= cell_of(box.right - area_.left); ++column)
      sum += kCostOfLine * lines_through_[row * num_columns_ + column];
  return sum;
}

double Placement::cost_of_way(Position from, const Box& to) const {
  const Position end = {std::clamp(from.x, to.left, to.right),
                        std::clamp(from.y, to.top, to.bottom)};
  const int steps = static_cast<int>(length(from, end) / kCell);
  double sum = 0.0;
  for (int k = 1; k < steps; ++k) {
    const Position p = {from.x + k * (end.x - from.x) / steps,
                        from.y + k * (end.y - from.y) / steps};
    for (const Box& box : boxes_)
      // Not the marker that it comes from.
      if (contains(box, p) && !contains(box, from)) sum += kCostOfWay;
  }
  return sum;
}

std::vector<Box> Placement::place(const std::vector<Label>& labels) {
  const std::size_t first = boxes_.size();
  const auto best = [&](const Label& label) {
    // Without any place inside, which only text wider than the area meets: at its left.
    Box found = {area_.left, label.at.y - label.height / 2, area_.left + label.width,
                 label.at.y + label.height / 2};
    double least = std::numeric_limits<double>::infinity();
    for (const double distance : kDistances)
      for (std::size_t d = 0; d < kDirections.size(); ++d) {
        const Box box = beside(label, kDirections[d], distance);
        // What costs time only as long as the place may still be the best.
        double total = 2.0 * distance + static_cast<double>(d < 8 ? d : d + 12);
        if (total < least) total += cost(box);
        if (total < least) total += cost_of_way(label.at, box);
        if (total < least) {
          least = total;
          found = box;
        }
      }
    return found;
  };
  for (const Label& label : labels) boxes_.push_back(best(label));
  // Each once more, now that the others are known.
  for (int sweep = 0; sweep < 4; ++sweep)
    for (std::size_t i = 0; i < labels.size(); ++i) {
      boxes_[first + i] = {0, 0, 0, 0};
      boxes_[first + i] = best(labels[i]);
    }
  return {boxes_.begin() + static_cast<std::ptrdiff_t>(first), boxes_.end()};
}

std::optional<Placement::OnLine> Placement::place_on(const Polyline& line, double width,
                                                     double height) {
  const double total = length_of(line), needed = width + 2.0 * height;
  if (total < needed) return std::nullopt;
  constexpr int kTries = 24;
  std::optional<OnLine> found;
  double least = kCostOfBox / 2;
  Box taken{};
  for (int k = 0; k <= kTries; ++k) {
    // From the middle outwards, to both sides in turn.
    const double share = 0.5 + (k % 2 == 0 ? 0.5 : -0.5) * ((k + 1) / 2) / (kTries / 2.0 + 1.0);
    const double along = share * total;
    if (along < needed / 2 || along > total - needed / 2) continue;
    const Position begin = point_at(line, along - width / 2), middle = point_at(line, along),
                   end = point_at(line, along + width / 2);
    if (length(begin, end) < 0.95 * width) continue;  // a bend
    double turned = std::atan2(end.y - begin.y, end.x - begin.x);
    if (turned > std::numbers::pi / 2) turned -= std::numbers::pi;
    if (turned <= -std::numbers::pi / 2) turned += std::numbers::pi;
    const double half_width =
        (std::abs(std::cos(turned)) * width + std::abs(std::sin(turned)) * height) / 2;
    const double half_height =
        (std::abs(std::sin(turned)) * width + std::abs(std::cos(turned)) * height) / 2;
    const Box box = {middle.x - half_width, middle.y - half_height, middle.x + half_width,
                     middle.y + half_height};
    const double here = cost(box) + 20.0 * std::abs(share - 0.5);
    if (here < least) {
      least = here;
      found = OnLine{middle, turned * 180.0 / std::numbers::pi};
      taken = box;
    }
  }
  if (found) boxes_.push_back(taken);
  return found;
}

}  // namespace espalier::report
