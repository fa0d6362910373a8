#include "runs/page.hpp"

#include <fmt/chrono.h>
#include <fmt/format.h>

#include <ctime>

#include "base/text.hpp"
#include "report/svg.hpp"
#include "runs/html.hpp"

namespace espalier::runs {
namespace {

std::string figures(const std::vector<NamedChart>& charts) {
  std::string html;
  for (const NamedChart& chart : charts) html += html_figure(chart.svg);
  return html;
}

std::string section(std::string_view heading, const std::string& content) {
  return content.empty() ? std::string() : fmt::format("<h2>{}</h2>\n{}", heading, content);
}

std::string grid_of(const std::vector<NamedChart>& charts) {
  return charts.empty() ? std::string()
                        : fmt::format("<div class=\"charts\">\n{}</div>\n", figures(charts));
}

/// One set of charts for each axis, of which radio buttons show one: no script is needed.
std::string courses(const std::vector<Run>& runs) {
  std::string buttons, labels, sets, style;
  for (const CourseAxis& axis : course_axes()) {
    const std::vector<NamedChart> charts = course_charts(runs, axis);
    if (charts.empty()) continue;
    buttons += fmt::format("<input class=\"axis\" type=\"radio\" name=\"axis\" id=\"by-{}\"{}>\n",
                           axis.key, buttons.empty() ? " checked" : "");
    labels += fmt::format("<label for=\"by-{}\">{}</label>\n", axis.key, axis.label);
    sets += fmt::format("<div class=\"charts by {}\">\n{}</div>\n", axis.key, figures(charts));
    style += fmt::format(
        "#by-{0}:checked~.{0}{{display:grid}}"
        "#by-{0}:checked~.axes label[for=by-{0}]{{border-color:var(--strong);"
        "color:var(--strong);font-weight:bold}}"
        "#by-{0}:focus-visible~.axes label[for=by-{0}]{{outline:2px solid var(--strong)}}\n",
        axis.key);
  }
  if (sets.empty()) return "<p class=\"card\">No step has been done yet.</p>\n";
  return fmt::format(
      "<style>{}</style>\n<div>\n{}<div class=\"axes\"><span class=\"soft\">over</span>\n{}"
      "</div>\n{}</div>\n",
      style, buttons, labels, sets);
}

std::string title_of(const std::vector<Run>& runs) {
  std::string names;
  for (const Run& run : runs)
    if (names.size() < 120)
      names += (names.empty() ? "" : ", ") + run.name;
    else if (!names.ends_with("..."))
      names += ", ...";
  return fmt::format("{} {}", runs.size() == 1 ? "Run" : "Runs", names);
}

}  // namespace

std::string page_of(const std::vector<Run>& runs, double now) {
  const std::string title = title_of(runs);
  std::string body =
      fmt::format("<h1>{}</h1>\n<p class=\"soft\">espalier report, {:%Y-%m-%d %H:%M:%S}</p>\n",
                  report::xml_escaped(title), fmt::localtime(static_cast<std::time_t>(now)));
  body += summary_table(runs, now);
  body += section("Course of the training", courses(runs));
  body += section("Where the time went", grid_of(time_charts(runs)) +
                                             section("A step", speed_table(runs)) +
                                             grid_of(phase_charts(runs)));
  body += section("Memory of a rank", grid_of(memory_charts(runs)));
  body += section("Process grid", grids(runs));
  body +=
      section(runs.size() == 1 ? "Input, where it is not the default" : "Inputs, where they differ",
              input_differences(runs));
  for (const Run& run : runs) {
    const std::string name =
        runs.size() == 1 ? std::string() : " of " + report::xml_escaped(run.name);
    body += section("Jobs" + name, job_table(run));
    body += section("Events" + name, event_table(run));
  }
  return html_page(title, body);
}

std::vector<NamedChart> all_charts(const std::vector<Run>& runs) {
  std::vector<NamedChart> charts;
  const auto add = [&](std::vector<NamedChart> more) {
    for (NamedChart& chart : more) charts.push_back(std::move(chart));
  };
  for (const CourseAxis& axis : course_axes()) add(course_charts(runs, axis));
  add(time_charts(runs));
  add(phase_charts(runs));
  add(memory_charts(runs));
  return charts;
}

}  // namespace espalier::runs
