#pragma once
#include <string>

#include "plan/estimate/search_on_devices.hpp"
#include "report/table.hpp"

namespace espalier::commands {

// What `espalier plan search` prints, each with a newline at its end.

/// The candidates. People get plan.rows of them and the selected one, plan.write_row, which is
/// marked; programs get all, with all columns.
std::string search_table(const config::Parameters& parameters, const plan::SearchSpace& space,
                         const plan::SearchOnDevices& devices, report::Format format);

/// How many shapes were tried, how many pairs the filter let pass, how many shapes passed and are
/// candidates.
std::string search_statistics(const config::Parameters& parameters, const plan::SearchSpace& space,
                              const plan::SearchResult& result,
                              const plan::SearchOnDevices& devices, report::Format format);

/// The space in words.
std::string describe_search(const config::Parameters& parameters, const plan::SearchSpace& space);

/// The layout of the selected row on each device, and what a reader may ask next.
std::string describe_selected(const config::Parameters& parameters,
                              const plan::SearchOnDevices& devices);

}  // namespace espalier::commands
