#pragma once
#include <cstdint>
#include <limits>
#include <string>
#include <vector>

#include "config/parameters.hpp"

namespace espalier::bench {

// How the speed of training grows with the ranks. The tensor group stays as [parallel] has it, and
// data ranks are what there is more of.

/// A number of ranks that is not measured, and why.
struct LeftOut {
  std::int64_t ranks;
  std::string why;
};

/// What is to be measured: resolved parameters for each number of ranks, ascending.
struct ScalingCase {
  int ranks;
  config::Parameters parameters;
};
struct ScalingCases {
  std::vector<ScalingCase> cases;
  std::vector<LeftOut> left_out;
};

/// The cases of bench.ranks and bench.scaling, of parameters that are not resolved, for a job of
/// `num_ranks`. Without bench.ranks: 1, 2, 4, ... times the ranks of one data rank, and all of the
/// job's. Numbers that the grid or the batch does not fit are left out. Throws Error
/// (bad_configuration, met by every rank) where bench.ranks is not of the job, or nothing is left.
ScalingCases scaling_cases(const config::Parameters& parameters, int num_ranks);

/// One number of ranks as it was measured, or planned alone.
struct ScalingPoint {
  static constexpr double kUnknown = std::numeric_limits<double>::quiet_NaN();
  int ranks = 1;
  int nodes = 0;  ///< 0: unknown
  std::int64_t global_batch_size = 0;
  double tokens = 0.0;  ///< of a step
  /// Of the slowest rank: median, least and most of the steps; nan: not measured.
  double step_s = kUnknown, least_s = kUnknown, most_s = kUnknown;
  double communication = kUnknown;     ///< share of the time that ranks spend in collectives, mean
  std::vector<double> planned_s = {};  ///< of a step, for each device; nan: no plan
  double tokens_per_second() const { return tokens / step_s; }
};

/// Tokens per second and rank over those of `fewest`, for steps of `seconds` and `fewest_seconds`:
/// 1 is ideal, for weak scaling and for strong. nan where one of them is.
double efficiency(const ScalingPoint& point, double seconds, const ScalingPoint& fewest,
                  double fewest_seconds);

/// How many hosts the first `ranks` of these are on.
int num_nodes(const std::vector<std::string>& hosts, int ranks);

}  // namespace espalier::bench
