#include "train/replay_plan.hpp"

#include <algorithm>
#include <optional>
#include <system_error>

#include "base/error.hpp"
#include "base/whole_file.hpp"
#include "config/changes.hpp"
#include "io/checkpoint.hpp"
#include "io/checkpoint_files.hpp"
#include "io/toml_reader.hpp"
#include "runs/run.hpp"
#include "train/checkpointing.hpp"
#include "train/kept_tokenizer.hpp"
#include "train/restart.hpp"

namespace espalier::train {
namespace {

namespace fs = std::filesystem;

std::string steps_of(const std::vector<io::CheckpointFolder>& folders) {
  std::string text;
  for (const io::CheckpointFolder& folder : folders)
    text += fmt::format("{}{}", text.empty() ? "" : ", ", folder.step);
  return text;
}

/// The checkpoint that is meant by verify.from.
io::CheckpointFolder choose(const runs::Run& run, const config::VerifyParameters& asked) {
  const auto folders = io::list_complete(checkpoint_directory(run.path));
  require(!folders.empty(), ExitStatus::bad_data,
          "{}: the run has no complete checkpoint to replay steps from", run.path.string());
  if (asked.from >= 0) {
    for (const io::CheckpointFolder& folder : folders)
      if (folder.step == asked.from) return folder;
    fail(ExitStatus::bad_data,
         "verify.from = {}: {} has no complete checkpoint of that step; it has those of {}",
         asked.from, run.path.string(), steps_of(folders));
  }
  for (auto folder = folders.rbegin(); folder != folders.rend(); ++folder)
    if (asked.steps <= run.last_step() - folder->step) return *folder;
  return folders.front();
}

std::optional<config::Parameters> input_of_job(const runs::Run& run, const runs::Job& job) {
  const fs::path file = runs::job_folder(run.path, job.number) / "input.toml";
  const auto text = read_whole_file(file.string());
  if (!text) return std::nullopt;
  config::Parameters parameters;
  io::read_parameters(*text, file.string(), {}, parameters);
  return parameters;
}

/// What in another input of the run makes its steps other ones; empty: nothing.
std::string other_course(const config::Parameters& before, const config::Parameters& now) {
  std::vector<config::Change> changes = config::changes_of_function(before, now);
  for (config::Change& change : config::changes_of_course(before, now))
    changes.push_back(std::move(change));
  std::string text;
  for (const config::Change& change : changes)
    text += fmt::format("{}{} = {} (was {})", text.empty() ? "" : ", ", change.key, change.now,
                        change.before);
  return text;
}

/// The last step of those after `from` that jobs made with the same input and on the same grid as
/// the first of them.
std::int64_t end_of_course(const runs::Run& run, const config::Parameters& input, std::int64_t from,
                           std::int64_t to, std::vector<std::string>& remarks) {
  const runs::Job* first = run.job_of_step(from + 1);
  if (first == nullptr) return to;
  for (std::int64_t step = from + 2; step <= to; ++step) {
    const runs::Job* job = run.job_of_step(step);
    if (job->number == first->number) continue;
    const auto its_input = input_of_job(run, *job);
    const std::string course = its_input ? other_course(input, *its_input) : "";
    const std::string change = job->grid != first->grid ? "on " + job->grid
                               : course.empty()         ? ""
                                                        : "with " + course;
    if (change.empty()) continue;
    remarks.push_back(fmt::format("the replay ends at step {}: job {} made the steps behind it {}",
                                  step - 1, job->number, change));
    return step - 1;
  }
  return to;
}

/// A replay writes nothing, is not stopped for the reasons that the run was, and meets no injected
/// fault; the ranks of this job are counted anew.
void leave_out_the_rest(config::Parameters& p) {
  p.run.time_limit.clear();
  p.run.stop_after = 0;
  p.data.validation.clear();
  p.validation = {};
  p.output.rank_logs = p.output.tensorboard = false;
  p.debug = {};
  p.parallel.data = 0;
}

}  // namespace

fs::path checkpoint_of_step(const fs::path& run_directory, std::int64_t step) {
  for (const io::CheckpointFolder& folder : io::list_complete(checkpoint_directory(run_directory)))
    if (folder.step == step) return folder.path;
  return checkpoint_directory(run_directory) / io::step_folder_name(step);
}

ReplayPlan plan_replay(const fs::path& run_directory, const config::VerifyParameters& asked) {
  const runs::Run run = runs::read_run(run_directory, runs::Depth::status);
  const io::CheckpointFolder folder = choose(run, asked);
  ReplayPlan plan;
  {
    const io::CheckpointReader reader(folder.path, io::CheckpointReader::Verify::whole_shards);
    plan.parameters = input_of(reader.info(), folder.path);
    plan.recorded_grid = reader.info().grid;
    plan.recorded_simd = simd_level_in(reader.info().build);
    const auto kept = kept_tokenizer(folder.path, reader.info());
    std::error_code ignored;
    if (!kept.empty() && !fs::exists(plan.parameters.data.tokenizer, ignored))
      plan.parameters.data.tokenizer = kept;
  }
  config::Parameters& p = plan.parameters;
  if (const runs::Job* job = run.job_of_step(folder.step + 1)) {
    plan.recorded_grid = job->grid;
    const auto its_input = job->first_step == folder.step ? input_of_job(run, *job) : std::nullopt;
    const std::string course = its_input ? other_course(p, *its_input) : "";
    if (!course.empty()) {
      plan.remarks.push_back(fmt::format(
          "job {} continued the checkpoint with {}, and so does the replay", job->number, course));
      p = *its_input;
    } else if (its_input) {
      p.parallel = its_input->parallel;  // as it was when those steps were made
    }
  }

  const std::int64_t recorded = run.last_step();
  require(recorded > folder.step, ExitStatus::bad_data,
          "{} has no step behind {} (it ends at step {}): there is nothing to compare a replay "
          "with. Choose an earlier checkpoint with verify.from, or keep more of them "
          "(checkpoint.keep)",
          (run_directory / io::kHistoryName).string(), folder.path.filename().string(), recorded);
  const std::int64_t wanted = folder.step + std::min(asked.steps, recorded - folder.step);
  if (wanted - folder.step < asked.steps)
    plan.remarks.push_back(fmt::format("{} steps are recorded behind {}, fewer than {}",
                                       wanted - folder.step, folder.path.filename().string(),
                                       asked.steps));
  const std::int64_t to = end_of_course(run, p, folder.step, wanted, plan.remarks);
  leave_out_the_rest(p);
  p.output.directory = run_directory.string();
  p.verify = {.steps = to - folder.step, .from = folder.step};
  return plan;
}

}  // namespace espalier::train
