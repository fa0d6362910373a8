#include <fmt/chrono.h>
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <ctime>
#include <map>
#include <set>

#include "base/integers.hpp"
#include "base/text.hpp"
#include "parallel/layout/grid.hpp"
#include "report/axis.hpp"
#include "report/svg.hpp"
#include "runs/html.hpp"
#include "runs/page.hpp"

namespace espalier::runs {
namespace {

HtmlCell number(double value, std::string_view pattern) {
  return {std::isfinite(value) ? fmt::format(fmt::runtime(pattern), value) : std::string(), true};
}
HtmlCell whole(std::int64_t value) {
  return {with_commas(value), true};
}
HtmlCell per_cent(double share) {
  return number(100.0 * share, "{:.1f} %");
}
HtmlCell seconds(double s) {
  return {s > 0.0 ? (s < 60.0 ? fmt::format("{:.2f} s", s) : human_duration(s)) : std::string(),
          true};
}
std::string local_time(double time_s) {
  return fmt::format("{:%Y-%m-%d %H:%M:%S}", fmt::localtime(static_cast<std::time_t>(time_s)));
}

using Keys = std::map<std::string, std::string>;

/// "section.key" to value of an input's TOML.
Keys keys_of(const config::Parameters& input) {
  Keys keys;
  std::string table;
  const std::string toml = config::to_toml(input);
  for (std::size_t begin = 0; begin < toml.size();) {
    const std::size_t end = std::min(toml.find('\n', begin), toml.size());
    const std::string line = toml.substr(begin, end - begin);
    begin = end + 1;
    if (line.starts_with('[')) table = line.substr(1, line.find(']') - 1);
    const std::size_t equals = line.find(" = ");
    if (line.starts_with('#') || equals == std::string::npos) continue;
    keys[table + "." + line.substr(0, line.find(' '))] = line.substr(equals + 3);
  }
  return keys;
}

/// A row for each key that has not one value in all columns.
std::string difference(const std::vector<std::string>& headings, const std::vector<Keys>& columns) {
  std::set<std::string> names;
  for (const Keys& column : columns)
    for (const auto& [name, value] : column) names.insert(name);
  std::vector<std::vector<HtmlCell>> rows;
  for (const std::string& name : names) {
    std::vector<HtmlCell> row{name};
    std::set<std::string> values;
    for (const Keys& column : columns) {
      const auto it = column.find(name);
      row.emplace_back(it == column.end() ? std::string("-") : it->second);
      values.insert(row.back().text);
    }
    if (values.size() > 1) rows.push_back(std::move(row));
  }
  if (rows.empty()) return {};
  std::vector<std::string> all{"key"};
  all.insert(all.end(), headings.begin(), headings.end());
  return html_table(all, rows);
}

std::string details_of(const io::Event& event) {
  std::string text;
  for (const auto& [key, value] : event.details) {
    std::string shown;
    if (const auto* word = std::get_if<std::string>(&value)) shown = *word;
    if (const auto* amount = std::get_if<double>(&value)) shown = fmt::format("{:.6g}", *amount);
    if (const auto* list = std::get_if<std::vector<std::int64_t>>(&value))
      for (const std::int64_t item : *list)
        shown += (shown.empty() ? "" : " ") + std::to_string(item);
    if (shown.empty()) continue;
    text += (text.empty() ? "" : ", ") + key + " " + shown;
  }
  return text;
}

constexpr std::size_t kMostEvents = 200;

}  // namespace

std::string summary_table(const std::vector<Run>& runs, double /*now*/) {
  std::vector<std::vector<HtmlCell>> rows;
  for (const Run& run : runs) {
    const bool any = !run.history.empty();
    double best = kUnknown;
    for (const io::ValidationRow& row : run.validation)
      if (!(best <= row.bits_per_byte)) best = row.bits_per_byte;
    double sum_s = 0.0;
    for (std::size_t i = 0; i < run.history.size(); ++i) sum_s += io::seconds_of(run.history, i);
    const double tokens = any ? static_cast<double>(run.history.back().tokens) : kUnknown;
    rows.push_back(
        {run.name, run.life.state + (run.life.note.empty() ? "" : ", " + run.life.note),
         HtmlCell(with_commas(run.last_step()) +
                      (run.steps() > 0 ? " of " + with_commas(run.steps()) : std::string()),
                  true),
         HtmlCell(any ? human_count(tokens) : std::string(), true),
         number(any ? run.history.back().loss : kUnknown, "{:.5f}"), number(best, "{:.4f}"),
         HtmlCell(
             sum_s > 0.0 ? with_commas(static_cast<std::int64_t>(tokens / sum_s)) : std::string(),
             true),
         per_cent(any && sum_s > 0.0
                      ? run.mfu_of({.step = run.last_step(), .tokens_per_second = tokens / sum_s})
                      : kUnknown),
         per_cent(run.time.goodput()), seconds(run.time.wall_s),
         whole(static_cast<std::int64_t>(run.jobs.size())), whole(run.num_faults())});
  }
  return html_table({"run", "state", "steps", "tokens", "loss", "best bits per byte", "tok/s",
                     "MFU", "goodput", "wall time", "jobs", "faults"},
                    rows);
}

std::string speed_table(const std::vector<Run>& runs) {
  std::vector<std::vector<HtmlCell>> rows;
  for (const Run& run : runs) {
    if (!run.report) continue;
    const JobReport& r = *run.report;
    rows.push_back(
        {run.name, number(r.step_s, "{:.4g} s"),
         number(r.planned ? r.planned->step_s : kUnknown, "{:.4g} s"), per_cent(r.mfu),
         per_cent(r.mfu_full), seconds(r.exposed_s),
         std::isfinite(r.hidden_s) ? seconds(r.hidden_s) : HtmlCell("not measured"),
         seconds(r.input_s),
         r.ranks > 1 ? fmt::format("{} on {}", r.slowest_rank, r.slowest_host) : std::string("-")});
  }
  if (rows.empty()) return {};
  return html_table({"run", "step", "planned", "MFU", "with full attention",
                     "communication exposed", "hidden", "input", "slowest rank"},
                    rows);
}

std::string grids(const std::vector<Run>& runs) {
  std::string html;
  for (const Run& run : runs) {
    if (!run.input) continue;
    const config::ParallelParameters& p = run.input->parallel;
    if (p.data < 1) continue;
    const parallel::ProcessGrid grid({.tensor = narrow<int>(p.tensor),
                                      .context = narrow<int>(p.context),
                                      .data = narrow<int>(p.data),
                                      .pipeline = narrow<int>(p.pipeline)},
                                     0);
    html += fmt::format("<div class=\"card\"><p>{}: {}</p><pre>{}</pre></div>\n",
                        report::xml_escaped(run.name), grid.describe(), [&] {
                          std::string lines;
                          const std::string picture = grid.picture();
                          for (std::size_t begin = 0; begin < picture.size();) {
                            const std::size_t end =
                                std::min(picture.find('\n', begin), picture.size());
                            lines += report::xml_escaped(picture.substr(begin, end - begin)) + "\n";
                            begin = end + 1;
                          }
                          return lines;
                        }());
  }
  return html;
}

std::string input_differences(const std::vector<Run>& runs) {
  std::vector<std::string> headings;
  std::vector<Keys> columns;
  if (runs.size() == 1 && runs.front().input) {
    headings.emplace_back("default");
    columns.push_back(keys_of({}));
  }
  for (const Run& run : runs) {
    if (!run.input) continue;
    headings.push_back(run.name);
    columns.push_back(keys_of(*run.input));
  }
  std::string html = columns.size() > 1 ? difference(headings, columns) : std::string();
  if (html.empty() && columns.size() > 1) html = "<p class=\"card\">They are the same.</p>\n";
  return html;
}

std::string job_table(const Run& run) {
  std::vector<std::vector<HtmlCell>> rows;
  for (const Job& job : run.jobs)
    rows.push_back({whole(job.number), local_time(job.begin_s), seconds(job.time.wall_s),
                    whole(job.first_step), whole(job.last_step), job.grid, job.host, job.slurm_job,
                    job.has_ended              ? job.reason
                    : &job == &run.jobs.back() ? run.life.state
                    : job.reason.empty()       ? std::string("killed")
                                               : job.reason,
                    per_cent(job.time.goodput())});
  if (rows.empty()) return {};
  return html_table({"job", "started", "wall time", "from step", "to step", "grid", "host",
                     "Slurm job", "ended", "goodput"},
                    rows);
}

std::string event_table(const Run& run) {
  std::vector<std::vector<HtmlCell>> rows;
  for (auto event = run.events.rbegin(); event != run.events.rend(); ++event) {
    if (rows.size() == kMostEvents) break;
    rows.push_back({local_time(event->time_s), whole(event->job), whole(event->step), event->kind,
                    details_of(*event)});
  }
  if (rows.empty()) return {};
  const std::string heading =
      rows.size() < run.events.size()
          ? fmt::format("the newest {} of {} events", rows.size(), run.events.size())
          : fmt::format("{} event{}", rows.size(), rows.size() == 1 ? "" : "s");
  return html_folded(heading, html_table({"time", "job", "step", "event", "details"}, rows));
}

}  // namespace espalier::runs
