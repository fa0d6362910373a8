#pragma once
#include <span>
#include <vector>

namespace espalier::report {

struct Position {
  double x, y;
};
using Polyline = std::vector<Position>;

/// The lines on which values over a grid equal `level`, by marching squares: linear along the
/// grid's edges, a saddle divided by the mean of its corners. `xs` and `ys` are where the grid's
/// columns and rows stand, `values` is (ys, xs). A line that ends where it began is a closed one.
/// Cells with a corner that is not finite are left out.
/// Method: Lorensen and Cline, Marching Cubes (SIGGRAPH 1987), in two dimensions.
std::vector<Polyline> contour_lines(std::span<const double> xs, std::span<const double> ys,
                                    std::span<const double> values, double level);

/// About `number` round levels that divide the finite values into parts of about the same size, so
/// that the lines are spread over the whole grid; ascending. None when all values are equal.
std::vector<double> contour_levels(std::span<const double> values, int number);

}  // namespace espalier::report
