#include "runs/run.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <system_error>

#include "base/error.hpp"
#include "base/log.hpp"
#include "base/text.hpp"
#include "base/whole_file.hpp"
#include "io/checkpoint.hpp"
#include "io/lock_lease.hpp"
#include "io/toml_reader.hpp"
#include "model/architecture.hpp"
#include "plan/flops.hpp"

namespace espalier::runs {
namespace {

namespace fs = std::filesystem;

bool is_there(const fs::path& path) {
  std::error_code ignored;
  return fs::exists(path, ignored);
}

bool is_run(const fs::path& path) {
  for (const char* name : {io::kHistoryName, kStatusName, "events.jsonl", "run.log"})
    if (is_there(path / name)) return true;
  return false;
}

void require_run(const fs::path& path) {
  std::error_code ignored;
  require(is_there(path), ExitStatus::bad_data, "{}: is not there", path.string());
  require(fs::is_directory(path, ignored), ExitStatus::bad_data,
          "{}: is no folder; name the run directory (output.directory of its input)",
          path.string());
  if (is_run(path)) return;
  std::string inside;
  for (const auto& entry : fs::directory_iterator(path, ignored))
    if (is_there(entry.path() / io::kHistoryName) && inside.size() < 200)
      inside += (inside.empty() ? "" : ", ") + entry.path().string();
  fail(ExitStatus::bad_data, "{}: is no run directory: it has no {}, {} or run.log{}",
       path.string(), io::kHistoryName, kStatusName,
       inside.empty() ? "" : "; in it are runs: " + inside);
}

/// Parameters of a text that a run has kept; nothing when this version does not understand it.
std::optional<config::Parameters> parameters_of(const std::string& text, const fs::path& file) {
  try {
    config::Parameters parameters;
    io::read_parameters(text, file.string(), {}, parameters);
    return parameters;
  } catch (const Error&) {
    return std::nullopt;
  }
}

std::optional<config::Parameters> input_of_checkpoint(const fs::path& path) {
  try {
    const auto folder = io::checkpoint_at(path);
    if (!folder) return std::nullopt;
    const io::CheckpointReader reader(*folder, io::CheckpointReader::Verify::whole_shards);
    return parameters_of(reader.info().resolved_input, *folder / "master.h5");
  } catch (const Error&) {  // a checkpoint that is damaged is no reason to say nothing of its run
    return std::nullopt;
  }
}

void read_inputs(Run& run) {
  std::string before;
  for (const Job& job : run.jobs) {
    const fs::path file = job_folder(run.path, job.number) / "input.toml";
    const auto text = read_whole_file(file);
    if (!text || *text == before) continue;
    before = *text;
    auto input = parameters_of(*text, file);
    if (!input) continue;
    run.input = *input;
    run.changed_inputs.push_back({job.number, std::move(*input)});
  }
  if (!run.changed_inputs.empty()) run.changed_inputs.erase(run.changed_inputs.begin());
  if (!run.input) run.input = input_of_checkpoint(run.path);
}

/// As the newest job said; else of the model and the length, as if documents were not apart.
double flops_of(const Run& run) {
  for (auto job = run.jobs.rbegin(); job != run.jobs.rend(); ++job)
    if (std::isfinite(job->flops_per_token)) return job->flops_per_token;
  if (!run.input) return kUnknown;
  try {
    return plan::flops_per_token(model::Architecture::from(run.input->model),
                                 static_cast<double>(run.input->training.sequence_length))
        .causal_attention;
  } catch (const Error&) {
    return kUnknown;
  }
}

}  // namespace

Life life_of(const fs::path& directory, const std::optional<RunStatus>& status, double now) {
  const auto holder = io::holder_in(directory / ".lock");
  const bool holder_lives = holder && holder->is_on_this_machine() && !holder->is_dead();
  if (!status) {
    if (holder_lives) return {"training", "by " + holder->describe(), false};
    return {"unknown", "no status.json: the run is of an older version", true};
  }
  if (is_over(status->state)) return {std::string(name_of(status->state)), "", true};
  const double silence = std::max(0.0, now - status->updated);
  // A slow file system or a busy node may leave a few out.
  constexpr double kMissed = 6.0;
  const bool is_silent = silence > kMissed * std::max(1.0, status->interval_s);
  const std::string since = "since " + human_duration(silence);
  if (holder && holder->is_dead())
    return {"no sign of life", since + ": its process on this machine has ended", true};
  if (!holder && is_silent) return {"no sign of life", since + ": nobody holds its lock", true};
  if (is_silent && holder_lives)
    return {"no sign of life", since + ", but its process is there: stopped, or its disk hangs",
            false};
  if (is_silent) return {"no sign of life", since + ", last " + status->activity, true};
  return {std::string(name_of(status->state)), "", false};
}

const Job* Run::job_of_step(std::int64_t step) const {
  for (auto job = jobs.rbegin(); job != jobs.rend(); ++job)
    if (step > job->first_step) return &*job;
  return nullptr;
}

double Run::mfu_of(const io::HistoryRow& row) const {
  const Job* job = job_of_step(row.step);
  if (job == nullptr || !(job->peak_flops > 0.0)) return kUnknown;
  return row.tokens_per_second * job->flops_per_token / job->peak_flops;
}

std::int64_t Run::steps() const {
  if (status) return status->steps;
  return input ? input->training.steps : 0;
}

std::int64_t Run::num_faults() const {
  return std::count_if(events.begin(), events.end(), is_fault);
}

Run read_run(const fs::path& path, Depth depth) {
  require_run(path);
  Run run;
  run.path = path;
  run.name = path.lexically_normal().filename().string();
  if (run.name.empty()) run.name = path.lexically_normal().parent_path().filename().string();
  if (run.name.empty() || run.name == "." || run.name == "..") {
    std::error_code ignored;
    run.name = fs::canonical(path, ignored).filename().string();
  }
  run.status = read_status(path);
  run.events = io::read_events(path);
  run.history = io::read_history(path);
  run.validation = io::read_validation(path);
  run.jobs = jobs_of(run.events, run.history, run.status);
  run.time = account_of(run.jobs);
  run.life = life_of(path, run.status, now_s());
  if (depth == Depth::status) return run;
  run.report = read_report(path / kReportName);
  read_inputs(run);
  run.flops_per_token = flops_of(run);
  return run;
}

std::vector<Run> read_runs(const std::vector<std::string>& paths, Depth depth) {
  std::vector<Run> runs;
  for (const std::string& path : paths) {
    std::error_code no_folder;
    if (paths.size() > 1 && fs::is_directory(path, no_folder) && !is_run(path)) {
      log::warn("{}: is no run directory, passed over", path);
      continue;
    }
    Run run = read_run(path, depth);
    for (const Run& other : runs) {
      std::error_code ignored;
      require(!fs::equivalent(other.path, run.path, ignored), ExitStatus::usage,
              "{} and {} are the same run directory", other.path.string(), path);
    }
    runs.push_back(std::move(run));
  }
  require(!runs.empty(), ExitStatus::bad_data, "none of the {} folders is a run directory",
          paths.size());
  std::map<std::string, int> times;
  for (const Run& run : runs) ++times[run.name];
  for (Run& run : runs)
    if (times[run.name] > 1) run.name = run.path.lexically_normal().string();
  return runs;
}

}  // namespace espalier::runs
