#include "runs/terminal.hpp"

#include <fmt/chrono.h>
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <ctime>

#include "base/text.hpp"
#include "report/axis.hpp"

namespace espalier::runs {
namespace {

constexpr std::size_t kSparkWidth = 48;
constexpr int kBarWidth = 30;

std::string progress_bar(std::int64_t step, std::int64_t steps) {
  if (steps <= 0) return {};
  const double share = std::clamp(static_cast<double>(step) / static_cast<double>(steps), 0.0, 1.0);
  const int full = static_cast<int>(share * kBarWidth);
  return fmt::format("  [{}{}] {:.1f} %", std::string(static_cast<std::size_t>(full), '#'),
                     std::string(static_cast<std::size_t>(kBarWidth - full), '.'), 100.0 * share);
}

std::string local_time(double time_s) {
  return fmt::format("{:%Y-%m-%d %H:%M:%S}", fmt::localtime(static_cast<std::time_t>(time_s)));
}

std::string ago(double time_s, double now) {
  return human_duration(std::max(0.0, now - time_s)) + " ago";
}

/// The last values, from status.json or, of an older run, from the tables.
struct Last {
  std::int64_t step = 0, validation_step = -1;
  double loss = kUnknown, bits_per_byte = kUnknown, tokens_per_second = kUnknown, mfu = kUnknown;
};
Last last_of(const Run& run) {
  Last last;
  if (run.status) {
    last = {.step = run.status->step,
            .validation_step = run.status->validation_step,
            .loss = run.status->loss,
            .bits_per_byte = run.status->bits_per_byte,
            .tokens_per_second = run.status->tokens_per_second,
            .mfu = run.status->mfu};
  }
  if (!run.history.empty() && !std::isfinite(last.loss)) {
    const io::HistoryRow& row = run.history.back();
    if (!run.status) last.step = row.step;
    last.loss = row.loss;
    if (!std::isfinite(last.tokens_per_second)) {
      last.tokens_per_second = row.tokens_per_second;
      last.mfu = run.mfu_of(row);
    }
  }
  if (!run.validation.empty() && last.validation_step < 0) {
    last.validation_step = run.validation.back().step;
    last.bits_per_byte = run.validation.back().bits_per_byte;
  }
  return last;
}

std::string fault_words(const Run& run) {
  std::string words;
  std::int64_t count = 0;
  const io::Event* newest = nullptr;
  for (const io::Event& event : run.events)
    if (is_fault(event)) {
      ++count;
      newest = &event;
    }
  if (newest == nullptr) return "no faults";
  words = fmt::format("{} fault{}, the last: {} at step {}", count, count == 1 ? "" : "s",
                      newest->kind, newest->step);
  const std::string why = newest->text("message");
  return why.empty() ? words : words + " (" + why.substr(0, why.find('\n')).substr(0, 120) + ")";
}

std::string block_of(const Run& run, double now) {
  const Last last = last_of(run);
  std::string text = fmt::format("{}  {}{}\n", run.path.string(), run.life.state,
                                 run.life.note.empty() ? "" : " (" + run.life.note + ")");
  const std::int64_t steps = run.steps();
  text += fmt::format("  step        {}{}{}\n", with_commas(last.step),
                      steps > 0 ? " of " + with_commas(steps) : "", progress_bar(last.step, steps));
  if (!run.history.empty()) {
    std::vector<double> losses;
    for (const io::HistoryRow& row : run.history) losses.push_back(row.loss);
    text += fmt::format("  loss        {:.5f}  {}\n", last.loss, sparkline(losses, kSparkWidth));
  }
  if (last.validation_step >= 0)
    text += fmt::format("  validation  {:.4f} bits per byte at step {}\n", last.bits_per_byte,
                        with_commas(last.validation_step));
  if (std::isfinite(last.tokens_per_second)) {
    text += fmt::format(
        "  speed       {} tok/s{}", with_commas(static_cast<std::int64_t>(last.tokens_per_second)),
        std::isfinite(last.mfu) ? fmt::format(", MFU {:.1f} %", 100.0 * last.mfu) : std::string());
    if (run.status && !run.life.is_over && std::isfinite(run.status->eta_s))
      text += ", " + human_duration(run.status->eta_s) + " left";
    text += "\n";
  }
  if (run.status) {
    const RunStatus& s = *run.status;
    if (s.checkpoint_step >= 0)
      text += fmt::format("  checkpoint  step {}, {}\n", with_commas(s.checkpoint_step),
                          ago(s.checkpoint_time, now));
    else
      text += "  checkpoint  none\n";
    text += fmt::format("  job         {} on {}{}, process {}, {}; since {}, {} {}\n", s.job,
                        s.host, s.ranks > 1 ? fmt::format(" ({} ranks)", s.ranks) : "", s.pid,
                        s.slurm_job.empty() ? "no Slurm job" : "Slurm job " + s.slurm_job,
                        local_time(s.started), run.life.is_over ? "last heard" : "heard",
                        ago(s.updated, now));
  }
  if (!run.jobs.empty()) {
    const auto restarts = run.jobs.size() - 1;
    text +=
        fmt::format("  run         {} job{}, {} restart{}, {}\n", run.jobs.size(),
                    restarts == 0 ? "" : "s", restarts, restarts == 1 ? "" : "s", fault_words(run));
    text += fmt::format("  goodput     {:.1f} % of {}\n", 100.0 * run.time.goodput(),
                        human_duration(run.time.wall_s));
  }
  return text;
}

report::Cell number_cell(double value) {
  return {value, std::isfinite(value) ? report::short_number(value, 5) : ""};
}

}  // namespace

std::string sparkline(const std::vector<double>& values, std::size_t width) {
  static constexpr std::array<const char*, 8> kBlocks = {"▁", "▂", "▃", "▄", "▅", "▆", "▇", "█"};
  std::vector<double> finite;
  for (const double value : values)
    if (std::isfinite(value)) finite.push_back(value);
  const std::size_t count = std::min(width, finite.size());
  std::vector<double> means;
  for (std::size_t i = 0; i < count; ++i) {
    const std::size_t begin = i * finite.size() / count, end = (i + 1) * finite.size() / count;
    double sum = 0.0;
    for (std::size_t k = begin; k < end; ++k) sum += finite[k];
    means.push_back(sum / static_cast<double>(end - begin));
  }
  if (means.empty()) return {};
  const auto [low, high] = std::minmax_element(means.begin(), means.end());
  std::string line;
  for (const double mean : means) {
    const double share = *high > *low ? (mean - *low) / (*high - *low) : 0.0;
    line += kBlocks[std::min<std::size_t>(7, static_cast<std::size_t>(share * 8.0))];
  }
  return line;
}

std::string describe_status(const std::vector<Run>& runs, report::Format format, double now) {
  if (format == report::Format::text) {
    std::string text;
    for (const Run& run : runs) text += (text.empty() ? "" : "\n") + block_of(run, now);
    return text;
  }
  report::Table table({{"run", "run"},
                       {"state", "state"},
                       {"note", "note"},
                       {"step", "step"},
                       {"steps", "steps"},
                       {"loss", "loss"},
                       {"bits_per_byte", "bits per byte"},
                       {"tokens_per_second", "tok/s"},
                       {"mfu", "MFU"},
                       {"eta_s", "left, s"},
                       {"checkpoint_step", "checkpoint"},
                       {"jobs", "jobs"},
                       {"faults", "faults"},
                       {"goodput", "goodput"}});
  for (const Run& run : runs) {
    const Last last = last_of(run);
    const auto count = [](std::int64_t n) { return static_cast<double>(n); };
    table.add({run.path.string(), run.life.state, run.life.note, number_cell(count(last.step)),
               number_cell(run.steps() > 0 ? count(run.steps()) : kUnknown), number_cell(last.loss),
               number_cell(last.bits_per_byte), number_cell(last.tokens_per_second),
               number_cell(last.mfu),
               number_cell(run.status && !run.life.is_over ? run.status->eta_s : kUnknown),
               number_cell(run.status && run.status->checkpoint_step >= 0
                               ? count(run.status->checkpoint_step)
                               : kUnknown),
               number_cell(count(static_cast<std::int64_t>(run.jobs.size()))),
               number_cell(count(run.num_faults())), number_cell(run.time.goodput())});
  }
  return table.print(format);
}

}  // namespace espalier::runs
