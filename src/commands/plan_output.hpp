#pragma once
#include <string>
#include <vector>

#include "plan/estimate/estimate.hpp"
#include "report/chart.hpp"
#include "report/table.hpp"

namespace espalier::commands {

// What `espalier plan time` and `plan grid` both show.

/// With so many digits: "1.230", "1,235", "1.2e-05".
std::string in_digits(double value, int digits);
std::string in_gib(std::int64_t bytes);     ///< "12.3"
report::Cell percent_cell(double share);    ///< 0.123 as "12.3"
report::Cell seconds_cell(double seconds);  ///< four digits
report::Cell hours_cell(double hours);
report::Cell count_cell(double count);  ///< with commas

/// Columns of Estimate for programs, and the cells of one: "memory_bytes" to "checkpoint_seconds".
std::vector<report::Column> estimate_columns();
std::vector<report::Cell> estimate_cells(const plan::Estimate& estimate);

/// What the run is: batch, length, tokens, expected loss.
std::string describe_run(const config::Parameters& parameters);
/// "8 x B200 (178.0 GiB each)"
std::string describe_devices(std::int64_t ranks, const config::HardwareParameters& hardware);
/// How long the run takes beside plan.hours; empty where there is none.
std::string describe_hours(const config::Parameters& parameters, const plan::Estimate& estimate);

/// A guess that the times rest on, beside those of the device's file, and a line's end; or nothing.
std::string describe_doubts(const config::Parameters& parameters,
                            const config::HardwareParameters& hardware);

/// The bar of where a step's time goes, and what travels hidden beside it.
std::string time_bar(const plan::Estimate& estimate);
/// The same as a picture, a bar for each named estimate.
struct NamedEstimate {
  std::string name;
  plan::Estimate estimate;
};
report::StackedBars time_chart(const std::string& title, const std::vector<NamedEstimate>& bars);

}  // namespace espalier::commands
