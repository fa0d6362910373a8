#pragma once
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "config/planning_parameters.hpp"
#include "plan/scaling/fit.hpp"

namespace espalier::plan {

/// The points of a CSV. Its first line names the columns: parameters, tokens, loss, where flops may
/// stand in place of one of the first two (FLOPs = 6 N D), and, if need be, name; upper and lower
/// case are the same, other columns are passed over, `columns` ("parameters=Model Size") says what
/// they are called else. Empty lines and such that begin with "# " are passed over. A point without
/// a name is called after its line, "points.csv:7". `file`: for names and messages. Throws Error
/// (bad_data) with file, line and column; (bad_configuration) for `columns`.
std::vector<FitPoint> points_of_csv(std::string_view text, const std::string& file,
                                    std::span<const std::string> columns);

/// The point of a run of this program: N from the [model] of its newest checkpoint, D and loss, as
/// fit.loss says, from history.csv and validation.csv. Throws Error (bad_data), which says what to
/// change, where something of this is missing, cut off or not a number, or where the run is not at
/// its last step, unless fit.unfinished.
FitPoint point_of_run(const std::string& folder, const config::FitParameters& fit);

/// `paths`: run folders (or a run's history.csv) and CSV files. All that is wrong with runs is said
/// in one Error (bad_data), a line each.
std::vector<FitPoint> read_points(std::span<const std::string> paths,
                                  const config::FitParameters& fit);

struct DividedPoints {
  std::vector<FitPoint> fitted, held_back;
};
/// By name. Throws Error (bad_configuration) for a name of fit.hold_back that no point has.
DividedPoints divide_points(std::vector<FitPoint> points, std::span<const std::string> hold_back);

}  // namespace espalier::plan
