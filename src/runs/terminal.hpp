#pragma once
#include <string>
#include <vector>

#include "report/table.hpp"
#include "runs/run.hpp"

namespace espalier::runs {

/// How runs stand, for a terminal: a block of lines for each; in other formats a row for each.
/// `now`: seconds since 1970.
std::string describe_status(const std::vector<Run>& runs, report::Format format, double now);

/// A line of `width` blocks, U+2581 to U+2588, each the mean of its share of the values; those that
/// are not finite are left out. Fewer values have fewer blocks.
std::string sparkline(const std::vector<double>& values, std::size_t width);

}  // namespace espalier::runs
