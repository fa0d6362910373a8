#pragma once
#include <span>
#include <string>
#include <vector>

#include "bench/scaling.hpp"
#include "report/chart.hpp"
#include "report/table.hpp"

namespace espalier::commands {

/// A row for each point, ascending; the efficiency is against the first. `devices`: those of
/// ScalingPoint::planned_s.
report::Table scaling_table(std::span<const bench::ScalingPoint> points,
                            const std::vector<std::string>& devices);

/// Tokens per second over ranks: measured with the spread of the steps, planned, and ideal from the
/// first point on.
report::XyChart scaling_chart(std::span<const bench::ScalingPoint> points,
                              const std::vector<std::string>& devices, const std::string& title);

}  // namespace espalier::commands
