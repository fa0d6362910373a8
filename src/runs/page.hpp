#pragma once
#include <string>
#include <vector>

#include "runs/run.hpp"

namespace espalier::runs {

/// A chart of a report; `name` is that of its file, without ".svg": "loss-by-tokens".
struct NamedChart {
  std::string name;
  std::string svg;
};

/// What the horizontal axis of a course is.
struct CourseAxis {
  std::string key;    ///< "steps"
  std::string label;  ///< for people: "steps"
};
/// steps, tokens, time, flops.
const std::vector<CourseAxis>& course_axes();

// Charts of runs, all of them in each chart. Those of which no run has data are left out.

/// Loss, bits per byte, learning rate, gradient norm, speed and MFU over one of course_axes(), with
/// restarts, checkpoints and faults marked.
std::vector<NamedChart> course_charts(const std::vector<Run>& runs, const CourseAxis& axis);
/// Wall time of runs and of the jobs of a single one, by what it went to.
std::vector<NamedChart> time_charts(const std::vector<Run>& runs);
/// Phases of a step, of the newest job that ended.
std::vector<NamedChart> phase_charts(const std::vector<Run>& runs);
/// Memory of the rank that needs most, by purpose, as the input plans it.
std::vector<NamedChart> memory_charts(const std::vector<Run>& runs);

// Parts of the page, as HTML; empty where there is nothing to say.
std::string summary_table(const std::vector<Run>& runs, double now);
std::string speed_table(const std::vector<Run>& runs);
std::string grids(const std::vector<Run>& runs);
/// Keys in which the runs' inputs differ; of a single run, in which it differs from the defaults,
/// and in which its jobs did.
std::string input_differences(const std::vector<Run>& runs);
std::string job_table(const Run& run);
std::string event_table(const Run& run);

/// All of it: one HTML page that stands alone.
std::string page_of(const std::vector<Run>& runs, double now);
/// The charts of the page.
std::vector<NamedChart> all_charts(const std::vector<Run>& runs);

}  // namespace espalier::runs
