#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include "base/error.hpp"
#include "report/axis.hpp"
#include "report/chart.hpp"
#include "runs/page.hpp"

namespace espalier::runs {
namespace {

using report::Mark;

/// Where the steps of a run lie on the axis.
struct Places {
  std::vector<double> of_row;  ///< one per row of the history
  double at_step(const Run& run, std::int64_t step) const {
    const auto after = std::upper_bound(
        run.history.begin(), run.history.end(), step,
        [](std::int64_t value, const io::HistoryRow& row) { return value < row.step; });
    if (after == run.history.begin()) return run.history.empty() ? kUnknown : 0.0;
    return of_row[static_cast<std::size_t>(after - run.history.begin()) - 1];
  }
};

double seconds_per_unit(const std::string& unit) {
  return unit == "h" ? 3600.0 : unit == "min" ? 60.0 : 1.0;
}

/// The axis' unit of time that suits all runs.
std::string unit_of_time(const std::vector<Run>& runs) {
  double longest = 0.0;
  for (const Run& run : runs) {
    double sum = 0.0;
    for (std::size_t i = 0; i < run.history.size(); ++i) sum += io::seconds_of(run.history, i);
    longest = std::max(longest, sum);
  }
  return longest >= 7200.0 ? "h" : longest >= 120.0 ? "min" : "s";
}

Places places_of(const Run& run, const CourseAxis& axis, double unit_s) {
  Places places;
  double seconds = 0.0;
  for (std::size_t i = 0; i < run.history.size(); ++i) {
    const io::HistoryRow& row = run.history[i];
    seconds += io::seconds_of(run.history, i);
    const auto tokens = static_cast<double>(row.tokens);
    places.of_row.push_back(axis.key == "steps"    ? static_cast<double>(row.step)
                            : axis.key == "tokens" ? tokens
                            : axis.key == "time"   ? seconds / unit_s
                                                   : tokens * run.flops_per_token);
  }
  return places;
}

std::string title_of(const CourseAxis& axis, const std::string& unit) {
  if (axis.key == "steps") return "steps";
  if (axis.key == "tokens") return "tokens";
  if (axis.key == "time") return "time in steps, " + unit;
  return "FLOPs of matrix products (causal attention counted half)";
}

/// A line that is drawn of many rows needs no more of them than can be seen.
constexpr std::size_t kMostMeans = 500;
constexpr std::size_t kMostRunsWithScatter = 2;

/// With several runs their scatter would hide each other's lines: means of so many rows.
std::vector<report::Point> means_of(const std::vector<report::Point>& points) {
  if (points.size() <= 2 * kMostMeans) return points;
  std::vector<report::Point> means;
  for (std::size_t i = 0; i < kMostMeans; ++i) {
    const std::size_t begin = i * points.size() / kMostMeans,
                      end = (i + 1) * points.size() / kMostMeans;
    double x = 0.0, y = 0.0;
    std::size_t count = 0;
    for (std::size_t k = begin; k < end; ++k)
      if (std::isfinite(points[k].y)) {
        x += points[k].x;
        y += points[k].y;
        ++count;
      }
    if (count > 0)
      means.push_back({x / static_cast<double>(count), y / static_cast<double>(count)});
  }
  // The line reaches as far as the run does.
  means.push_back(points.back());
  return means;
}

std::vector<Mark> marks_of(const std::vector<Run>& runs, const std::vector<Places>& places) {
  std::vector<Mark> marks;
  for (std::size_t r = 0; r < runs.size(); ++r) {
    const Run& run = runs[r];
    const int series = runs.size() == 1 ? -1 : static_cast<int>(r);
    const std::string of_run = runs.size() == 1 ? "" : run.name + ": ";
    for (std::size_t i = 1; i < run.jobs.size(); ++i)
      marks.push_back({places[r].at_step(run, run.jobs[i].first_step), Mark::Sign::line,
                       fmt::format("{}job {} continues step {}", of_run, run.jobs[i].number,
                                   run.jobs[i].first_step),
                       series});
    for (const io::Event& event : run.events) {
      if (event.kind == "checkpoint") {
        // It became complete some steps later.
        const double of_step = event.number("of_step");
        const std::int64_t step =
            std::isfinite(of_step) ? static_cast<std::int64_t>(of_step) : event.step;
        marks.push_back({places[r].at_step(run, step), Mark::Sign::tick,
                         fmt::format("{}checkpoint of step {}", of_run, step), series});
      }
      if (is_fault(event))
        marks.push_back({places[r].at_step(run, event.step), Mark::Sign::crossed,
                         fmt::format("{}{} at step {}", of_run, event.kind, event.step), series});
    }
  }
  return marks;
}

class CourseDrawing {
 public:
  CourseDrawing(const std::vector<Run>& runs, const CourseAxis& axis)
      : runs_(runs), axis_(axis), unit_(unit_of_time(runs)) {
    for (const Run& run : runs) places_.push_back(places_of(run, axis, seconds_per_unit(unit_)));
    marks_ = marks_of(runs, places_);
  }

  /// A value of every row.
  template <class Value>
  void add(const std::string& key, const std::string& title, const std::string& y_title,
           bool logarithmic, Value value) {
    report::XyChart chart = empty_chart(title, y_title, logarithmic);
    bool any = false;
    for (std::size_t r = 0; r < runs_.size(); ++r) {
      const Run& run = runs_[r];
      report::Series series{.name = runs_.size() > 1 ? run.name : "", .points = {}};
      for (std::size_t i = 0; i < run.history.size(); ++i) {
        series.points.push_back({places_[r].of_row[i], value(run, run.history[i])});
        any =
            any || (std::isfinite(series.points.back().x) && std::isfinite(series.points.back().y));
      }
      if (runs_.size() > kMostRunsWithScatter) series.points = means_of(series.points);
      chart.series.push_back(std::move(series));
    }
    if (any) charts_.push_back({key + "-by-" + axis_.key, chart.svg()});
  }
  /// A value of every validation.
  void add_validation(const std::string& key, const std::string& title, const std::string& y_title,
                      double io::ValidationRow::*value) {
    report::XyChart chart = empty_chart(title, y_title, false);
    bool any = false;
    for (std::size_t r = 0; r < runs_.size(); ++r) {
      report::Series series{.name = runs_.size() > 1 ? runs_[r].name : "", .points = {}};
      series.marked = runs_[r].validation.size() <= 60;
      for (const io::ValidationRow& row : runs_[r].validation) {
        series.points.push_back({places_[r].at_step(runs_[r], row.step), row.*value});
        any = any || std::isfinite(series.points.back().x);
      }
      chart.series.push_back(std::move(series));
    }
    if (any) charts_.push_back({key + "-by-" + axis_.key, chart.svg()});
  }
  std::vector<NamedChart> take() && { return std::move(charts_); }

 private:
  report::XyChart empty_chart(const std::string& title, const std::string& y_title,
                              bool logarithmic) const {
    report::XyChart chart;
    chart.title = title;
    chart.x.title = title_of(axis_, unit_);
    chart.y.title = y_title;
    chart.y.logarithmic = logarithmic;
    chart.marks = marks_;
    chart.mark_names = {"restart", "fault", "checkpoint"};
    return chart;
  }

  const std::vector<Run>& runs_;
  const CourseAxis& axis_;
  std::string unit_;
  std::vector<Places> places_;
  std::vector<Mark> marks_;
  std::vector<NamedChart> charts_;
};

}  // namespace

const std::vector<CourseAxis>& course_axes() {
  static const std::vector<CourseAxis> axes = {
      {"steps", "steps"}, {"tokens", "tokens"}, {"time", "time"}, {"flops", "FLOPs"}};
  return axes;
}

std::vector<NamedChart> course_charts(const std::vector<Run>& runs, const CourseAxis& axis) {
  using Row = io::HistoryRow;
  CourseDrawing drawing(runs, axis);
  drawing.add("loss", "Training loss", "nats per token", false,
              [](const Run&, const Row& row) { return row.loss; });
  drawing.add_validation("validation-loss", "Validation loss", "nats per token",
                         &io::ValidationRow::loss);
  drawing.add_validation("bits-per-byte", "Validation, bits per byte", "bits per byte",
                         &io::ValidationRow::bits_per_byte);
  drawing.add("gradient-norm", "Gradient norm before clipping", "norm", true,
              [](const Run&, const Row& row) { return row.grad_norm; });
  drawing.add("learning-rate", "Learning rate", "learning rate", false,
              [](const Run&, const Row& row) { return row.learning_rate; });
  drawing.add("tokens-per-second", "Speed", "tokens per second", false,
              [](const Run&, const Row& row) { return row.tokens_per_second; });
  drawing.add("mfu", "Model FLOPs utilisation", "% of the measured peak", false,
              [](const Run& run, const Row& row) { return 100.0 * run.mfu_of(row); });
  const auto of_experts = [](double io::ExpertColumns::*value) {
    return [value](const Run&, const Row& row) {
      return row.experts ? *row.experts.*value : std::numeric_limits<double>::quiet_NaN();
    };
  };
  drawing.add("expert-load", "Load of the busiest expert", "choices, in means of its block", false,
              of_experts(&io::ExpertColumns::load));
  drawing.add("balance-loss", "Balance loss of experts", "loss, with its coefficient", false,
              of_experts(&io::ExpertColumns::balance_loss));
  return std::move(drawing).take();
}

}  // namespace espalier::runs
