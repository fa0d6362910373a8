#include "runs/accounting.hpp"

#include <algorithm>
#include <cmath>

namespace espalier::runs {
namespace {

double or_zero(double value) {
  return std::isfinite(value) && value > 0.0 ? value : 0.0;
}

/// Seconds of the rows of steps behind `first` and up to `last`.
double seconds_of_steps(const std::vector<io::HistoryRow>& history, std::int64_t first,
                        std::int64_t last) {
  double sum = 0.0;
  for (std::size_t i = 0; i < history.size(); ++i)
    if (history[i].step > first && history[i].step <= last) sum += io::seconds_of(history, i);
  return sum;
}

/// Divides the time of a job's steps into new and replayed ones; the rest of its wall time is
/// other_s. `rolled_back_s`: of it went to steps that the job itself took back.
void complete(Job& job, double all_steps_s, std::int64_t steps_again, double rolled_back_s) {
  TimeAccount& t = job.time;
  const std::int64_t steps = std::max<std::int64_t>(job.last_step - job.first_step, 0);
  const double share =
      steps == 0 ? 0.0
                 : std::min(1.0, static_cast<double>(steps_again) / static_cast<double>(steps));
  t.replay_s = share * (all_steps_s - rolled_back_s) + rolled_back_s;
  t.steps_s = all_steps_s - t.replay_s;
  const double known = all_steps_s + t.validation_s + t.checkpoint_s + t.start_s;
  t.wall_s = std::max(t.wall_s, known);  // a clock that was set back
  t.other_s = t.wall_s - known;
}

Job begun_by(const io::Event& start) {
  Job job;
  job.number = start.job;
  job.ranks = static_cast<std::int64_t>(std::max(1.0, or_zero(start.number("ranks"))));
  job.grid = start.text("grid");
  job.host = start.text("host");
  job.slurm_job = start.text("slurm_job");
  job.first_step = std::max<std::int64_t>(start.step, 0);
  job.last_step = job.first_step;
  job.begin_s = start.time_s - or_zero(start.number("wall_s"));
  job.end_s = start.time_s;
  job.flops_per_token = start.number("flops_per_token");
  job.full_flops_per_token = start.number("full_flops_per_token");
  job.peak_flops = start.number("peak_flops");
  job.time.start_s = or_zero(start.number("wall_s"));
  return job;
}

}  // namespace

TimeAccount& TimeAccount::operator+=(const TimeAccount& other) {
  wall_s += other.wall_s;
  steps_s += other.steps_s;
  replay_s += other.replay_s;
  validation_s += other.validation_s;
  checkpoint_s += other.checkpoint_s;
  start_s += other.start_s;
  wait_s += other.wait_s;
  other_s += other.other_s;
  return *this;
}

std::vector<TimePart> parts_of(const TimeAccount& t) {
  return {{"steps_s", "useful steps", t.steps_s},
          {"start_s", "start", t.start_s},
          {"validation_s", "validation", t.validation_s},
          {"checkpoint_s", "waiting for checkpoints", t.checkpoint_s},
          {"replay_s", "replay", t.replay_s},
          {"wait_s", "wait between jobs", t.wait_s},
          {"other_s", "other", t.other_s}};
}

std::vector<Job> jobs_of(const std::vector<io::Event>& events,
                         const std::vector<io::HistoryRow>& history,
                         const std::optional<RunStatus>& status) {
  std::vector<const io::Event*> starts;
  for (const io::Event& event : events)
    if (event.kind == "start") starts.push_back(&event);
  std::vector<Job> jobs;
  std::int64_t done_once = 0;  // the last step that any job has done
  for (std::size_t i = 0; i < starts.size(); ++i) {
    Job job = begun_by(*starts[i]);
    const io::Event* next = i + 1 < starts.size() ? starts[i + 1] : nullptr;
    const std::int64_t kept =
        next != nullptr
            ? next->step
            : (history.empty() ? job.first_step : std::max(job.first_step, history.back().step));
    job.last_step = kept + static_cast<std::int64_t>(
                               next != nullptr ? or_zero(next->number("lost_steps")) : 0.0);
    double steps_s = seconds_of_steps(history, job.first_step, kept);
    if (next != nullptr) {
      steps_s += or_zero(next->number("lost_s"));
      job.end_s = std::max(job.end_s, or_zero(next->number("previous_sign_s")));
    } else if (status && status->job == job.number) {
      job.end_s = std::max(job.end_s, status->updated);
    }
    double rolled_back_s = 0.0;
    const io::Event* end = nullptr;
    for (const io::Event& event : events) {
      if (event.job != job.number) continue;
      job.end_s = std::max(job.end_s, event.time_s);
      if (event.kind == "checkpoint") job.time.checkpoint_s += or_zero(event.number("stall_s"));
      if (event.kind == "rollback") rolled_back_s += or_zero(event.number("lost_s"));
      if (event.kind == "error") job.reason = "error";
      if (event.kind == "hang") job.reason = "hang";
      if (event.kind == "stop") job.reason = event.text("reason");
      if (event.kind == "end") end = &event;
    }
    if (end != nullptr) {
      job.has_ended = true;
      job.end_s = end->time_s;
      job.last_step = end->step;
      if (std::isfinite(end->number("status")))
        job.exit_status = static_cast<int>(end->number("status"));
      if (!end->text("state").empty()) job.reason = end->text("state");
      job.time.wall_s = or_zero(end->number("wall_s"));
      job.time.start_s = or_zero(end->number("start_s"));
      job.time.validation_s = or_zero(end->number("validation_s"));
      job.time.checkpoint_s = or_zero(end->number("checkpoint_s"));
      steps_s = or_zero(end->number("step_s"));
    } else {
      job.time.wall_s = std::max(0.0, job.end_s - job.begin_s);
      steps_s += rolled_back_s;  // their rows are gone
    }
    rolled_back_s = std::min(rolled_back_s, steps_s);
    const std::int64_t again = std::clamp<std::int64_t>(
        std::min(done_once, job.last_step) - job.first_step, 0, job.last_step - job.first_step);
    done_once = std::max(done_once, job.last_step);
    complete(job, steps_s, again, rolled_back_s);
    jobs.push_back(std::move(job));
  }
  return jobs;
}

TimeAccount account_of(const std::vector<Job>& jobs) {
  TimeAccount sum;
  for (std::size_t i = 0; i < jobs.size(); ++i) {
    sum += jobs[i].time;
    if (i == 0) continue;
    const double wait = std::max(0.0, jobs[i].begin_s - jobs[i - 1].end_s);
    sum.wait_s += wait;
    sum.wall_s += wait;
  }
  return sum;
}

bool is_fault(const io::Event& event) {
  for (const char* kind : {"spike", "rollback", "audit", "damaged", "hang", "error"})
    if (event.kind == kind) return true;
  return false;
}

}  // namespace espalier::runs
