#include "report/contours.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstddef>

#include "base/error.hpp"

namespace espalier::report {
namespace {

constexpr std::size_t kNone = static_cast<std::size_t>(-1);

/// Edges of the grid are numbered: from node (row, column) to the next column 2 n, to the next row
/// 2 n + 1, n the node's number. Each is crossed once at most, and a line goes from edge to edge.
class MarchingSquares {
 public:
  MarchingSquares(std::span<const double> xs, std::span<const double> ys,
                  std::span<const double> values, double level)
      : xs_(xs), ys_(ys), values_(values), level_(level), next_(2 * values.size(), {kNone, kNone}) {
    for (std::size_t row = 0; row + 1 < ys.size(); ++row)
      for (std::size_t column = 0; column + 1 < xs.size(); ++column) cross(row, column);
  }

  std::vector<Polyline> lines() {
    std::vector<Polyline> list;
    // First those that end at the border of the grid, from their ends; what is left is closed.
    for (const bool closed : {false, true})
      for (std::size_t edge = 0; edge < next_.size(); ++edge)
        if (next_[edge][0] != kNone && (closed || next_[edge][1] == kNone))
          list.push_back(followed(edge));
    return list;
  }

 private:
  void cross(std::size_t row, std::size_t column) {
    const std::size_t node = row * xs_.size() + column, above = node + xs_.size();
    // Corners and edges around the cell: corner i lies between the edges i - 1 and i.
    const std::array corners = {node, node + 1, above + 1, above};
    const std::array edges = {2 * node, 2 * (node + 1) + 1, 2 * above, 2 * node + 1};
    std::array<bool, 4> is_high{};
    double sum = 0.0;
    for (std::size_t i = 0; i < 4; ++i) {
      const double value = values_[corners[i]];
      if (!std::isfinite(value)) return;
      is_high[i] = value >= level_;
      sum += value / 4.0;
    }
    std::vector<std::size_t> crossed;
    for (std::size_t i = 0; i < 4; ++i)
      if (is_high[i] != is_high[(i + 1) % 4]) crossed.push_back(edges[i]);
    if (crossed.size() == 2) join(crossed[0], crossed[1]);
    if (crossed.size() < 4) return;
    // A saddle: the middle belongs to corner 0 and 2, or to 1 and 3; the lines cut off the others.
    const bool middle_as_0 = (sum >= level_) == is_high[0];
    join(edges[0], edges[middle_as_0 ? 1 : 3]);
    join(edges[2], edges[middle_as_0 ? 3 : 1]);
  }

  void join(std::size_t a, std::size_t b) {
    next_[a][next_[a][0] == kNone ? 0 : 1] = b;
    next_[b][next_[b][0] == kNone ? 0 : 1] = a;
  }

  Position at(std::size_t edge) const {
    const std::size_t node = edge / 2, row = node / xs_.size(), column = node % xs_.size();
    const bool upwards = edge % 2 == 1;
    const double begin = values_[node], end = values_[node + (upwards ? xs_.size() : 1)];
    const double t = (level_ - begin) / (end - begin);
    if (upwards) return {xs_[column], ys_[row] + t * (ys_[row + 1] - ys_[row])};
    return {xs_[column] + t * (xs_[column + 1] - xs_[column]), ys_[row]};
  }

  /// The line from `edge` to its other end, whose edges are used up.
  Polyline followed(std::size_t edge) {
    Polyline line;
    const std::size_t first = edge;
    for (std::size_t from = kNone; edge != kNone;) {
      line.push_back(at(edge));
      const auto [a, b] = next_[edge];
      next_[edge] = {kNone, kNone};
      // A closed line ends on its first edge, whose neighbours are gone by then.
      const std::size_t to = a != kNone && a != from ? a : b;
      from = edge;
      edge = to == from ? kNone : to;
      if (edge == first) {
        line.push_back(line.front());
        break;
      }
    }
    return line;
  }

  std::span<const double> xs_, ys_, values_;
  double level_;
  std::vector<std::array<std::size_t, 2>> next_;
};

}  // namespace

std::vector<Polyline> contour_lines(std::span<const double> xs, std::span<const double> ys,
                                    std::span<const double> values, double level) {
  ESPALIER_ASSERT(values.size() == xs.size() * ys.size(), "{} values on a grid of {} x {}",
                  values.size(), ys.size(), xs.size());
  return MarchingSquares(xs, ys, values, level).lines();
}

std::vector<double> contour_levels(std::span<const double> values, int number) {
  std::vector<double> sorted;
  std::copy_if(values.begin(), values.end(), std::back_inserter(sorted),
               [](double v) { return std::isfinite(v); });
  std::sort(sorted.begin(), sorted.end());
  if (sorted.empty() || sorted.front() == sorted.back()) return {};
  const auto quantile = [&](double share) {
    return sorted[static_cast<std::size_t>(share * static_cast<double>(sorted.size() - 1))];
  };
  std::vector<double> levels;
  for (int k = 1; k <= number; ++k) {
    const double level = quantile(k / (number + 1.0));
    // Rounded to 1, 2 or 5 times a power of ten, finer than the distance to the next.
    const double gap =
        (quantile((k + 1) / (number + 1.0)) - quantile((k - 1) / (number + 1.0))) / 2;
    if (gap <= 0.0) continue;
    const double power = std::pow(10.0, std::floor(std::log10(gap)));
    const double unit = power * (gap >= 5 * power ? 5.0 : gap >= 2 * power ? 2.0 : 1.0);
    const double rounded = std::round(level / unit) * unit;
    if (rounded > sorted.front() && rounded < sorted.back() &&
        (levels.empty() || rounded > levels.back() + unit / 100))
      levels.push_back(rounded);
  }
  return levels;
}

}  // namespace espalier::report
