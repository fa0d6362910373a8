#pragma once
#include <string>
#include <vector>

#include "plan/estimate/estimate.hpp"
#include "report/table.hpp"

namespace espalier::plan {

/// A column of a comparison.
struct ComparedRun {
  std::string name;               ///< its heading
  config::Parameters parameters;  ///< as read: read_planned_input
};

/// A row of a comparison: one thing that all columns have, or not.
struct ComparedProperty {
  report::Column column;            ///< key for programs, words for people
  std::vector<report::Cell> cells;  ///< of each run
  std::string legend = {};          ///< how to read the cells, where they need it
  bool differs() const;
};

/// What the runs are and need, a row for each property: the model's parts and sizes, parameters,
/// FLOPs per token by part; of runs, which have a length, also tokens, expected loss and learning
/// rate beside Step Law's; and for each device memory, and of runs hours. Where plan.ranks is set
/// the best layout on so many devices counts, else the grid of the input. Rows that no run has are
/// left out. Throws Error (bad_configuration) that names the run where one is wrong.
std::vector<ComparedProperty> compared_properties(
    const std::vector<ComparedRun>& runs, const std::vector<config::HardwareParameters>& devices);

/// Text and Markdown: a column for each run, in text as many as 100 columns hold, the others below
/// them; rows in which the runs differ have a star in front, in Markdown bold headings. CSV and
/// JSON: a row or an object for each run.
std::string print_comparison(const std::vector<ComparedRun>& runs,
                             const std::vector<ComparedProperty>& properties,
                             report::Format format);

}  // namespace espalier::plan
